package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
)

// Config says what to start. Its zero value is a pair of throw-away servers
// that are fast and forget everything.
type Config struct {
	// Dir is the folder to work in. Without Keep, each Start uses a fresh folder
	// inside, and the system's temporary folder when Dir is empty.
	//
	// PostgreSQL refuses to run as root. For root it runs as another user, and
	// where that user cannot reach Dir its data lie under /tmp instead.
	Dir string
	// Keep makes data survive Stop, to be found again by the next Start.
	Keep bool
	// Durable means what production means: PostgreSQL with fsync, Redis with an
	// append-only file synced every second. Without it both trade safety for speed.
	Durable bool
	// RedisDatabases is the number of Redis databases, 16 when zero.
	RedisDatabases int
	// PostgresSettings are further settings, e.g. "max_connections": "50".
	PostgresSettings map[string]string
	// Log hears what is started and stopped; nil for silence.
	Log *slog.Logger
}

// Stack is a running pair of servers.
type Stack struct {
	// Postgres and Redis can be stopped, killed and started again one by one.
	Postgres *Postgres
	Redis    *Redis

	folder *folder
}

// Start starts both servers and returns when both answer. On error nothing is
// left running.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := claimFolder(cfg.Dir, cfg.Keep)
	if err != nil {
		return nil, err
	}
	s, err := newStack(dir, cfg)
	if err != nil {
		return nil, errors.Join(err, dir.release())
	}
	started := time.Now()
	g, startCtx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Postgres.Start(startCtx) })
	g.Go(func() error { return s.Redis.Start(startCtx) })
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	cfg.Log.InfoContext(ctx, "private servers started", "dir", dir.path,
		"postgres", s.Postgres.Version(), "redis", s.Redis.Version(), "took", time.Since(started))
	return s, nil
}

func newStack(dir *folder, cfg Config) (*Stack, error) {
	pg, err := NewPostgres(PostgresConfig{
		Dir: filepath.Join(dir.path, "postgres"), Durable: cfg.Durable, Settings: cfg.PostgresSettings,
	})
	if err != nil {
		return nil, err
	}
	rd, err := NewRedis(RedisConfig{
		Dir: filepath.Join(dir.path, "redis"), Durable: cfg.Durable, Databases: cfg.RedisDatabases,
	})
	if err != nil {
		return nil, errors.Join(err, pg.removeOutside())
	}
	return &Stack{Postgres: pg, Redis: rd, folder: dir}, nil
}

// Dir returns the folder with data, logs and passwords.
func (s *Stack) Dir() string { return s.folder.path }

// DatabaseURL returns the URL of an empty database of a superuser.
func (s *Stack) DatabaseURL() string { return s.Postgres.URL() }

// RedisURL returns the URL of database 0.
func (s *Stack) RedisURL() string { return s.Redis.URL() }

// Stop stops both servers and waits for them; without Config.Keep it then
// removes their data. When ctx ends first, the servers are killed.
func (s *Stack) Stop(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { return s.Postgres.Stop(ctx) })
	g.Go(func() error { return s.Redis.Stop(ctx) })
	err := g.Wait()
	if !s.folder.keep {
		err = errors.Join(err, s.Postgres.removeOutside())
	}
	return errors.Join(err, s.folder.release())
}

// Wait returns when ctx ends (nil) or a server ends that nobody stopped.
func (s *Stack) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.Postgres.Exited():
		return fmt.Errorf("PostgreSQL ended by itself, see %s", s.Postgres.server.log)
	case <-s.Redis.Exited():
		return fmt.Errorf("Redis ended by itself, see %s", s.Redis.server.log)
	}
}

// tempRoot is where data go when the wanted folder will not do.
func tempRoot() string {
	if os.Getuid() == 0 {
		return "/tmp" // root's own TMPDIR is likely to be closed to others
	}
	return os.TempDir()
}
