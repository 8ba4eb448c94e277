package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// awaitWaiting returns when so many backends wait for a lock.
func (b *bundle) awaitWaiting(t testing.TB, want int) {
	t.Helper()
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		if b.number(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == want {
			return
		}
	}
	t.Fatalf("there are not %d who wait for a lock", want)
}

func acceptingAll(b *bundle) map[string]func(ctx context.Context, sub webhook.Submission) error {
	return map[string]func(ctx context.Context, sub webhook.Submission) error{
		"Accept": func(ctx context.Context, sub webhook.Submission) error {
			_, _, err := b.events.Accept(ctx, []webhook.Submission{sub})
			return err
		},
		"AcceptLarge": func(ctx context.Context, sub webhook.Submission) error {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, _, err := b.events.AcceptLarge(ctx, sub)
			return err
		},
	}
}

// Somebody has the lane and wants the table, accepting has the table and wants
// the lane: the server ends accepting, which waits for longer.
func TestEvents_aDeadlockIsNoConcernOfTheClient(t *testing.T) {
	t.Parallel()
	for name := range acceptingAll(nil) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			hook := b.webhook(t, "acme", "*")
			tx := b.db.MustBeginTx(t.Context(), nil)
			defer func() { _ = tx.Rollback() }()
			tx.MustExecContext(t.Context(), `SET LOCAL deadlock_timeout = '1min'`)
			tx.MustExecContext(t.Context(), `SELECT FROM lanes FOR UPDATE`)
			done := make(chan error, 1)
			go func() { done <- acceptingAll(b)[name](context.WithoutCancel(t.Context()), b.submission(t, "acme", 1)) }()
			b.awaitWaiting(t, 1)
			tx.MustExecContext(t.Context(), `LOCK TABLE events IN ACCESS EXCLUSIVE MODE`)
			_ = tx.Rollback()
			if err := <-done; err != nil {
				t.Errorf("accepting: %v", err)
			}
			if diff := cmp.Diff(laneRow{1, 0, 1, 0}, b.lane(t, hook)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An event on its way to the default partition finds that its day has a
// partition by now.
func TestEvents_aDayMadeMeanwhileIsNoConcernOfTheClient(t *testing.T) {
	t.Parallel()
	for name := range acceptingAll(nil) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.webhook(t, "acme", "*")
			far := time.Now().AddDate(0, 0, 20)
			b.accept(t, b.at(t, far, 1)) // prepares the statement
			tx := b.db.MustBeginTx(t.Context(), nil)
			defer func() { _ = tx.Rollback() }()
			makeDay(t, tx, far)
			done := make(chan error, 1)
			go func() { done <- acceptingAll(b)[name](context.WithoutCancel(t.Context()), b.at(t, far, 1)) }()
			b.awaitWaiting(t, 1)
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("accepting: %v", err)
			}
			if n := b.number(t, `SELECT count(*) FROM deliveries_`+far.UTC().Format("20060102")); n != 2 {
				t.Errorf("deliveries in the new partition = %d, want 2", n)
			}
		})
	}
}

func makeDay(t *testing.T, tx *sqlx.Tx, day time.Time) {
	t.Helper()
	for _, parent := range []string{"deliveries", "events"} {
		tx.MustExecContext(t.Context(), `SELECT create_day_partition($1, $2::date)`, parent, day.UTC().Format(time.DateOnly))
	}
}
