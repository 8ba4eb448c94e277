package prune_test

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/prune"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	retention = 72 * time.Hour
	daysAhead = 3
)

// bundle is a database with something of every kind to prune.
type bundle struct {
	db    *sqlx.DB
	store *postgres.Pruner
	now   time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: postgrestest.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	// The schema has partitions for today and three days; a day later, it lacks one.
	b := &bundle{db: db, store: postgres.NewPruner(db), now: time.Now().AddDate(0, 0, 1)}
	old := b.now.AddDate(0, 0, -10)
	if _, err := b.store.CreatePartitions(t.Context(), old, 0); err != nil {
		t.Fatal(err)
	}
	for _, moment := range []time.Time{old, b.now} {
		var random [10]byte
		_, _ = rand.Read(random[:])
		b.exec(t, `INSERT INTO events (id, tenant_id, type, body) VALUES ($1, 'acme', 'lead.created', '{}')`,
			webhook.NewEventID(moment, random).UUID())
	}
	b.exec(t, `INSERT INTO idempotency_keys (tenant_id, key, body_hash, event_id, created_at) VALUES
		('acme', 'old', sha256(''), gen_random_uuid(), now() - interval '25 hours'),
		('acme', 'new', sha256(''), gen_random_uuid(), now())`)
	return b
}

func (b *bundle) exec(t *testing.T, query string, args ...any) {
	t.Helper()
	if _, err := b.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) pruner(store prune.Store, log *slog.Logger) *prune.Pruner {
	return prune.New(prune.Config{
		Store: store, Retention: retention, Log: log, Now: func() time.Time { return b.now },
		Lead: func(ctx context.Context) (func(context.Context) error, error) {
			leader, err := postgres.Lead(ctx, b.db, postgres.PruneLock)
			if leader == nil {
				return nil, err
			}
			return leader.Resign, err
		},
	})
}

// state is what pruning changes.
type state struct {
	Ahead, OldTables, OldEvents, Events, Keys int
}

func (b *bundle) state(t *testing.T) (s state) {
	t.Helper()
	last, old := b.now.AddDate(0, 0, daysAhead).UTC().Format("20060102"), b.now.AddDate(0, 0, -10)
	err := b.db.QueryRowContext(t.Context(), `SELECT
		(SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\_' || $1),
		(SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE '%\_' || $2),
		(SELECT count(*) FROM events WHERE id < uuid_floor($3::timestamptz + interval '1 day')),
		(SELECT count(*) FROM events), (SELECT count(*) FROM idempotency_keys)`,
		last, old.UTC().Format("20060102"), old).Scan(&s.Ahead, &s.OldTables, &s.OldEvents, &s.Events, &s.Keys)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	errBroken = errors.New("broken")
	untouched = state{Ahead: 0, OldTables: 3, OldEvents: 1, Events: 2, Keys: 2} //nolint:gochecknoglobals // a constant
	pruned    = state{Ahead: 3, OldTables: 0, OldEvents: 0, Events: 1, Keys: 1} //nolint:gochecknoglobals // a constant
)

func TestRound_makesDropsAndDeletes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if diff := cmp.Diff(untouched, b.state(t)); diff != "" {
		t.Fatal(diff)
	}
	p := b.pruner(b.store, slog.New(slog.DiscardHandler))
	for range 2 { // the second finds nothing to do
		if err := p.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(pruned, b.state(t)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRound_isDoneByOneProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	leader, err := postgres.Lead(t.Context(), b.db, postgres.PruneLock)
	if err != nil || leader == nil {
		t.Fatal(leader, err)
	}
	p := b.pruner(b.store, slog.New(slog.DiscardHandler))
	if err := p.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(untouched, b.state(t)); diff != "" {
		t.Errorf("pruned while another process led: %s", diff)
	}
	if err := leader.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pruned, b.state(t)); diff != "" {
		t.Error(diff)
	}
}

// partly is the store with one broken step.
type partly struct {
	*postgres.Pruner
	broken string
}

func (s partly) CreatePartitions(ctx context.Context, now time.Time, days int) (int, error) {
	if s.broken == "create" {
		return 0, errBroken
	}
	return s.Pruner.CreatePartitions(ctx, now, days)
}

func (s partly) DropPartitions(ctx context.Context, now time.Time, keep time.Duration) ([]string, error) {
	if s.broken == "drop" {
		return nil, errBroken
	}
	return s.Pruner.DropPartitions(ctx, now, keep)
}

func (s partly) DeleteExpired(ctx context.Context, keep time.Duration) error {
	if s.broken == "delete" {
		return errBroken
	}
	return s.Pruner.DeleteExpired(ctx, keep)
}

func TestRound_aBrokenStepDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	for broken, want := range map[string]state{
		"create": {Ahead: 0, OldTables: 0, OldEvents: 0, Events: 1, Keys: 1},
		"drop":   {Ahead: 3, OldTables: 3, OldEvents: 1, Events: 2, Keys: 1},
		"delete": {Ahead: 3, OldTables: 0, OldEvents: 0, Events: 1, Keys: 2},
	} {
		t.Run(broken, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			err := b.pruner(partly{b.store, broken}, slog.New(slog.DiscardHandler)).Round(t.Context())
			if !errors.Is(err, errBroken) {
				t.Errorf("error = %v, want that of the broken step", err)
			}
			if diff := cmp.Diff(want, b.state(t)); diff != "" {
				t.Error(diff)
			}
			// Nor does it keep the lead.
			if err := b.pruner(b.store, slog.New(slog.DiscardHandler)).Round(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(pruned, b.state(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// lines takes what is logged, a message a line.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestRun_prunesAtOnceAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	logged := make(lines, 10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- b.pruner(partly{b.store, "delete"}, slog.New(slog.NewTextHandler(logged, nil))).Run(ctx)
	}()
	for _, want := range []string{"prune: partitions", "prune: round not finished"} {
		select {
		case line := <-logged:
			if !strings.Contains(line, want) {
				t.Errorf("logged %q, want %q", line, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("never logged %q", want)
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("Run() = %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run does not end")
	}
}
