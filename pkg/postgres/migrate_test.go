package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the driver
	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestMigrate_ofSeveralAtOnceOneApplies(t *testing.T) {
	t.Parallel()
	url := postgrestest.NewEmpty(t)
	var applied atomic.Int64
	log := slog.New(countingHandler{&applied})
	var g errgroup.Group
	for range 3 {
		g.Go(func() error { return postgres.Migrate(context.Background(), url, log) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	migrations, err := postgres.MigrationStatus(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := int(applied.Load()), len(migrations); got != want || want == 0 {
		t.Errorf("three migrating processes applied %d migrations, want each of %d once", got, want)
	}
}

// TestWebhooks_notMigratedIsUnavailable: it is there when the migration is over.
func TestWebhooks_notMigratedIsUnavailable(t *testing.T) {
	t.Parallel()
	hooks := postgres.NewWebhooks(sqlx.NewDb(openDB(t, postgrestest.NewEmpty(t)), "postgres"), nil)
	if _, err := hooks.Count(t.Context(), "acme", webhook.WebhookFilter{}); !errors.Is(err, webhook.ErrUnavailable) {
		t.Errorf("counting webhooks: %v, want it to be unavailable", err)
	}
}

func TestMigrationStatus_beforeAndAfter(t *testing.T) {
	t.Parallel()
	url := postgrestest.NewEmpty(t)
	before, err := postgres.MigrationStatus(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(context.Background(), url, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	after, err := postgres.MigrationStatus(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	if len(before) != len(after) || len(after) == 0 {
		t.Fatalf("%d migrations before, %d after", len(before), len(after))
	}
	for i, m := range before {
		if !m.Pending() || after[i].Pending() {
			t.Errorf("%s pending: %t before and %t after, want true and false", m.Name, m.Pending(), after[i].Pending())
		}
	}
}

func TestCheckMigrated(t *testing.T) {
	t.Parallel()
	if err := postgres.CheckMigrated(context.Background(), openDB(t, postgrestest.New(t))); err != nil {
		t.Errorf("of a migrated database: %v", err)
	}
	db := openDB(t, postgrestest.NewEmpty(t))
	err := postgres.CheckMigrated(context.Background(), db)
	if err == nil || !strings.Contains(err.Error(), "0001_") || !strings.Contains(err.Error(), "hooksctl migrate up") {
		t.Errorf("of an empty database: %v, want the names of what is missing and what to do", err)
	}
	var public interface{ Reason() string }
	if !errors.As(err, &public) || public.Reason() != "the database is not migrated" {
		t.Errorf("of an empty database: %v, want a reason for everybody", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := postgres.CheckMigrated(context.Background(), db); err == nil {
		t.Error("of a closed pool: no error")
	}
}

func TestMigrate_keepsThePasswordOutOfErrors(t *testing.T) {
	t.Parallel()
	err := postgres.Migrate(context.Background(), "postgres://u:hunter2@[::1/db", slog.New(slog.DiscardHandler))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Migrate() = %v", err)
	}
}

func openDB(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// countingHandler counts log lines.
type countingHandler struct{ lines *atomic.Int64 }

func (h countingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h countingHandler) Handle(context.Context, slog.Record) error {
	h.lines.Add(1)
	return nil
}

func (h countingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h countingHandler) WithGroup(string) slog.Handler      { return h }
