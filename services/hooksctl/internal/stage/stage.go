package stage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

// Config says where to set up.
type Config struct {
	// Name is the folder under .run.
	Name string
	// PostgresSettings are further settings, e.g. "max_connections": "50".
	PostgresSettings map[string]string
	Log              *slog.Logger
}

// Stage is what outlives a System: binaries, servers, keys.
type Stage struct {
	Servers *devstack.Stack

	log    *slog.Logger
	root   string // of the tree that we are built from
	dir    string // logs and binaries
	keys   seal.Keyring
	keyCSV string
	secret string // signs tokens
}

// Open builds the services and starts the servers. Close must follow.
func Open(ctx context.Context, c Config) (*Stage, error) {
	root, err := workspace(ctx)
	if err != nil {
		return nil, err
	}
	s := &Stage{log: c.Log, root: root, dir: filepath.Join(root, ".run", c.Name), secret: rand.Text() + rand.Text()}
	if err := os.MkdirAll(s.dir, 0o711); err != nil { //nolint:gosec // PostgreSQL's user passes through
		return nil, fmt.Errorf("making folder: %w", err)
	}
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	s.keyCSV = base64.StdEncoding.EncodeToString(key[:])
	if s.keys, err = seal.ParseKeys(s.keyCSV); err != nil {
		return nil, err
	}
	c.Log.InfoContext(ctx, "building the services")
	if err := build(ctx, root, []string{"-o", s.dir + string(filepath.Separator)}, "api", "worker"); err != nil {
		return nil, err
	}
	s.Servers, err = devstack.Start(ctx, devstack.Config{
		Dir: s.dir, Durable: true, PostgresSettings: c.PostgresSettings, Log: c.Log,
	})
	return s, err
}

// Close stops the servers and drops their data, also when ctx has ended; logs
// stay.
func (s *Stage) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return s.Servers.Stop(ctx)
}

// Dir is where the processes' logs are.
func (s *Stage) Dir() string { return s.dir }

// NewSystem gives the services an empty database and an empty Redis. One System
// at a time: they share the Redis.
func (s *Stage) NewSystem(ctx context.Context, name string) (*System, error) {
	return s.NewSystemOn(ctx, name, s.Servers.RedisURL())
}

// NewSystemOn is NewSystem with a Redis of the caller's.
func (s *Stage) NewSystemOn(ctx context.Context, name, redisURL string) (_ *System, err error) {
	y := &System{stage: s, name: name, redisURL: redisURL}
	defer func() {
		if err != nil {
			err = errors.Join(err, y.Close(ctx))
		}
	}()
	if err := s.execPostgres(ctx, `CREATE DATABASE `+name); err != nil {
		return nil, err
	}
	u, err := url.Parse(s.Servers.DatabaseURL())
	if err != nil {
		return nil, fmt.Errorf("reading URL of private PostgreSQL: %w", err)
	}
	u.Path = "/" + name
	y.database = u.String()
	if err := postgres.Migrate(ctx, y.database, slog.New(slog.DiscardHandler)); err != nil {
		return nil, err
	}
	if y.DB, err = postgres.Open(postgres.Config{URL: y.database}); err != nil {
		return nil, err
	}
	if y.Redis, err = tasks.Connect(redisURL); err != nil {
		return nil, err
	}
	return y, y.EmptyRedis(ctx)
}

func (s *Stage) execPostgres(ctx context.Context, statement string) error {
	db, err := postgres.Open(postgres.Config{URL: s.Servers.DatabaseURL(), MaxConns: 1, StatementTimeout: time.Minute})
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	if err != nil {
		err = fmt.Errorf("asking private PostgreSQL: %w", err)
	}
	return errors.Join(err, db.Close())
}

// Checkpoint writes out what earlier work left dirty, so that it is not charged
// to what is measured next.
func (s *Stage) Checkpoint(ctx context.Context) error { return s.execPostgres(ctx, "CHECKPOINT") }

// ServerCPU is what PostgreSQL and Redis have used so far.
func (s *Stage) ServerCPU() (postgresql, redis time.Duration) {
	return CPUTime(s.Servers.Postgres.PID()), CPUTime(s.Servers.Redis.PID())
}
