// Package postgrestest gives each test a migrated PostgreSQL database of its own.
//
// Migrations run once for each content of the schema, into a template that all
// test processes share; a database is a copy of it, made in tens of milliseconds.
package postgrestest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/schema"
)

const (
	// urlVar names the server; `make test` starts one and sets it.
	urlVar  = "TEST_DATABASE_URL"
	timeout = 60 * time.Second
)

// New returns the URL of a fresh, migrated database, dropped when the test ends
// with whatever is still connected to it.
func New(t testing.TB) string {
	t.Helper()
	return create(t, ensureTemplate)
}

// NewEmpty returns the URL of a fresh database without any migration.
func NewEmpty(t testing.TB) string {
	t.Helper()
	return create(t, func(context.Context, *server) (string, error) { return "template1", nil })
}

func create(t testing.TB, template func(context.Context, *server) (string, error)) string {
	t.Helper()
	s := connect(t)
	defer s.close(t)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	from, err := template(ctx, s)
	if err != nil {
		t.Fatalf("making template database: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if err := s.exec(ctx, "CREATE DATABASE "+pq.QuoteIdentifier(name)+" TEMPLATE "+pq.QuoteIdentifier(from)); err != nil {
		t.Fatalf("making database: %v", err)
	}
	t.Cleanup(func() { drop(t, name) })
	return s.urlOf(name)
}

func drop(t testing.TB, name string) {
	t.Helper()
	s := connect(t)
	defer s.close(t)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.exec(ctx, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)"); err != nil {
		t.Errorf("dropping database: %v", err)
	}
}

// server is a connection to the server's own database.
type server struct {
	url *url.URL
	db  *sql.DB
}

func connect(t testing.TB) *server {
	t.Helper()
	dsn := os.Getenv(urlVar)
	if dsn == "" {
		t.Fatal(urlVar + " is not set: run `make test`, or `make servers` in one terminal and `. .run/servers/env` in this one")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatalf("%s must be a postgres:// URL", urlVar)
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatalf("connecting to %s: %v", urlVar, err)
	}
	db.SetMaxOpenConns(1) // session locks stay with the session
	return &server{url: u, db: db}
}

func (s *server) close(t testing.TB) {
	t.Helper()
	if err := s.db.Close(); err != nil {
		t.Errorf("disconnecting from %s: %v", urlVar, err)
	}
}

func (s *server) exec(ctx context.Context, query string, args ...any) error {
	_, err := s.db.ExecContext(ctx, query, args...)
	return err
}

func (s *server) urlOf(database string) string {
	u := *s.url
	u.Path = "/" + database
	return u.String()
}

// ensureTemplate makes the template unless it is there. Being marked as a
// template is what says that it is complete.
func ensureTemplate(ctx context.Context, s *server) (string, error) {
	sum, err := schemaSum()
	if err != nil {
		return "", err
	}
	name := "template_" + hex.EncodeToString(sum[:8])
	if ready, err := s.isTemplate(ctx, name); ready || err != nil {
		return name, err
	}
	lock := int64(binary.BigEndian.Uint64(sum[:8])) //nolint:gosec // any number will do
	if err := s.exec(ctx, "SELECT pg_advisory_lock($1)", lock); err != nil {
		return "", fmt.Errorf("queueing for template: %w", err)
	}
	// Closing the connection unlocks, should this fail.
	err = s.makeTemplate(ctx, name)
	return name, errors.Join(err, s.exec(ctx, "SELECT pg_advisory_unlock($1)", lock))
}

func (s *server) makeTemplate(ctx context.Context, name string) error {
	if ready, err := s.isTemplate(ctx, name); ready || err != nil {
		return err // made by whoever held the lock
	}
	quoted := pq.QuoteIdentifier(name)
	for _, query := range []string{"DROP DATABASE IF EXISTS " + quoted + " WITH (FORCE)", "CREATE DATABASE " + quoted} {
		if err := s.exec(ctx, query); err != nil {
			return fmt.Errorf("making template: %w", err)
		}
	}
	if err := postgres.Migrate(ctx, s.urlOf(name), slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("migrating template: %w", err)
	}
	// On a server that has just started no lease counts as over yet: what tests say of
	// ended ones would depend on how soon they begin.
	if err := s.exec(ctx, "SELECT pg_sleep(extract(epoch FROM pg_postmaster_start_time() + interval '5 seconds' - clock_timestamp()))"); err != nil {
		return fmt.Errorf("letting the server grow old: %w", err)
	}
	// Nobody may connect: a connected template cannot be copied.
	if err := s.exec(ctx, "ALTER DATABASE "+quoted+" IS_TEMPLATE true ALLOW_CONNECTIONS false"); err != nil {
		return fmt.Errorf("sealing template: %w", err)
	}
	return nil
}

func (s *server) isTemplate(ctx context.Context, name string) (bool, error) {
	var ready bool
	err := s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", name).Scan(&ready)
	if err != nil {
		return false, fmt.Errorf("looking for template: %w", err)
	}
	return ready, nil
}

// schemaSum identifies the content of all migrations.
func schemaSum() ([]byte, error) {
	h := sha256.New()
	files := schema.Postgres()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, path)
		_, _ = fmt.Fprintf(h, "%s %d\n%s", path, len(text), text) // a hash never fails
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	return h.Sum(nil), nil
}
