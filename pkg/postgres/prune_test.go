package postgres_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// at makes a submission of n events of a moment.
func (b *bundle) at(t testing.TB, moment time.Time, n int) webhook.Submission {
	t.Helper()
	sub := b.submission(t, "acme", n)
	for i := range sub.Events {
		sub.Events[i].Event.ID = webhook.NewEventID(moment, random(t))
	}
	return sub
}

func (b *bundle) number(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	if err := b.db.GetContext(t.Context(), &n, query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

// while runs f in so many goroutines, over and over, until end is called; end
// returns the first error.
func while(t testing.TB, goroutines int, f func(ctx context.Context) error) (end func() error) {
	t.Helper()
	g, ctx := errgroup.WithContext(t.Context())
	stop := make(chan struct{})
	for range goroutines {
		g.Go(func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				if err := f(ctx); err != nil {
					return err
				}
			}
		})
	}
	return func() error {
		close(stop)
		return g.Wait()
	}
}

const oldDays = 8

func TestPruner_droppingDaysDisturbsNoAccepting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hooks := []webhook.WebhookID{b.webhook(t, "acme", "*"), b.webhook(t, "acme", "*"), b.webhook(t, "acme", "*")}
	now := time.Now()
	for i := range oldDays {
		day := now.AddDate(0, 0, -10-i)
		if n, err := b.prune.CreatePartitions(t.Context(), day, 0); err != nil || n != 3 {
			t.Fatal(n, err)
		}
		b.accept(t, b.at(t, day, 20))
	}
	accepted := make(chan int, 100_000)
	end := while(t, 4, func(ctx context.Context) error {
		_, _, err := b.events.Accept(ctx, []webhook.Submission{b.at(t, now, 3)})
		accepted <- 3
		return err
	})
	days, err := b.prune.DropPartitions(t.Context(), now, 72*time.Hour)
	if err != nil || len(days) != oldDays || !slices.IsSorted(days) {
		t.Errorf("dropped %v, %v, want %d days", days, err, oldDays)
	}
	if err := end(); err != nil {
		t.Errorf("accepting meanwhile: %v", err)
	}
	close(accepted)
	want := 0
	for n := range accepted {
		want += n
	}
	if got := b.number(t, `SELECT count(*) FROM events`); got != want {
		t.Errorf("events = %d, want the %d of today", got, want)
	}
	if got := b.number(t, `SELECT count(*) FROM pending_deliveries`); got != want*len(hooks) {
		t.Errorf("pending deliveries = %d, want the %d of today", got, want*len(hooks))
	}
	for _, hook := range hooks {
		if l := b.lane(t, hook); l.Admitted != l.RowsAdmitted || l.Queued != l.RowsQueued {
			t.Errorf("lane counts %+v, want them equal to its rows", l)
		}
	}
}

// A table that somebody reads is dropped the next time; the others go at once.
func TestPruner_aDayInUseIsLeftForNextTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	now := time.Now()
	first, second := now.AddDate(0, 0, -12), now.AddDate(0, 0, -11)
	for _, day := range []time.Time{first, second} {
		if _, err := b.prune.CreatePartitions(t.Context(), day, 0); err != nil {
			t.Fatal(err)
		}
		b.accept(t, b.at(t, day, 5))
	}
	tx := b.db.MustBeginTx(t.Context(), nil)
	defer func() { _ = tx.Rollback() }()
	tx.MustExecContext(t.Context(), `SELECT FROM events_`+first.UTC().Format("20060102"))
	days, err := b.prune.DropPartitions(t.Context(), now, 72*time.Hour)
	if diff := cmp.Diff([]string{second.UTC().Format("20060102")}, days); diff != "" || err == nil {
		t.Errorf("error %v, and days: %s", err, diff)
	}
	if diff := cmp.Diff(laneRow{}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	_ = tx.Rollback()
	days, err = b.prune.DropPartitions(t.Context(), now, 72*time.Hour)
	if diff := cmp.Diff([]string{first.UTC().Format("20060102")}, days); diff != "" || err != nil {
		t.Errorf("error %v, and days: %s", err, diff)
	}
}

func TestPruner_makingADayDisturbsNoAccepting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	far := time.Now().AddDate(0, 0, 20)
	const ahead = 5
	accepted := make(chan int, 100_000)
	end := while(t, 4, func(ctx context.Context) error {
		for n := range ahead + 1 {
			_, _, err := b.events.Accept(ctx, []webhook.Submission{b.at(t, far.AddDate(0, 0, n), 1)})
			if err != nil {
				return err
			}
			accepted <- 1
		}
		return nil
	})
	if n, err := b.prune.CreatePartitions(t.Context(), far, ahead); err != nil || n != 3*(ahead+1) {
		t.Errorf("made %d, %v, want %d", n, err, 3*(ahead+1))
	}
	if err := end(); err != nil {
		t.Errorf("accepting meanwhile: %v", err)
	}
	if got := b.number(t, `SELECT count(*) FROM events`); got != len(accepted) {
		t.Errorf("events = %d, want %d", got, len(accepted))
	}
	// Who had begun to store a row may have got it into the default partition.
	if n, err := b.prune.CreatePartitions(t.Context(), far, ahead); err != nil || n != 0 {
		t.Errorf("made %d, %v the next time, want none", n, err)
	}
	if got := b.number(t, `SELECT (SELECT count(*) FROM events_default) + (SELECT count(*) FROM deliveries_default)`); got != 0 {
		t.Errorf("rows in default partitions = %d, want 0: each has one of its own", got)
	}
	if got := b.number(t, `SELECT count(*) FROM pending_deliveries p JOIN events e ON e.id = p.event_id JOIN deliveries d ON d.id = p.delivery_id`); got != len(accepted) {
		t.Errorf("%d deliveries are found with their events, want %d", got, len(accepted))
	}
	if l := b.lane(t, hook); l.Admitted+l.Queued != len(accepted) || l.Queued != l.RowsQueued {
		t.Errorf("lane counts %+v, want %d in all", l, len(accepted))
	}
}

// A row that PostgreSQL let into the default partition beside its day's own is found
// by nobody. Here it believes a constraint that does not hold.
func TestPruner_movesARowThatItsPartitionMissed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	day := time.Date(2099, 1, 1, 12, 0, 0, 0, time.UTC)
	b.accept(t, b.at(t, day, 1))
	for _, query := range []string{
		`ALTER TABLE events_default ADD CONSTRAINT untrue CHECK (id < uuid_floor('2099-01-01 00:00+00')) NOT VALID`,
		`UPDATE pg_constraint SET convalidated = true WHERE conname = 'untrue'`,
		`DO $$ BEGIN EXECUTE format('CREATE TABLE events_20990101 PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
			uuid_floor('2099-01-01 00:00+00'), uuid_floor('2099-01-02 00:00+00')); END $$`,
		`ALTER TABLE events_default DROP CONSTRAINT untrue`,
	} {
		b.exec(t, query)
	}
	const found = `SELECT count(*) FROM pending_deliveries p JOIN events e ON e.id = p.event_id`
	if n := b.number(t, `SELECT count(*) FROM events_default`); n != 1 {
		t.Fatalf("%d rows in the default partition, want one that is lost there", n)
	}
	if _, err := b.prune.CreatePartitions(t.Context(), day.AddDate(0, 0, 7), 0); err != nil {
		t.Error(err)
	}
	if lost, n := b.number(t, `SELECT count(*) FROM events_default`), b.number(t, found); lost != 0 || n != 1 {
		t.Errorf("%d rows left in the default partition, %d deliveries found with their events", lost, n)
	}
}

func TestPruner_aDayWithManyStraysStaysInTheDefaultPartition(t *testing.T) {
	t.Parallel()
	b := setup(t)
	far := time.Now().AddDate(0, 0, 20)
	const insert = `INSERT INTO events (id, tenant_id, type, body)
		SELECT (left(uuid_floor($1)::text, 24) || lpad(to_hex(n), 12, '0'))::uuid, 'acme', 'lead.created', '{}'
		FROM generate_series(1, $2) n`
	b.exec(t, insert, far, 10_001)
	b.exec(t, insert, far.AddDate(0, 0, 1), 10_000)
	if n, err := b.prune.CreatePartitions(t.Context(), far, 1); err != nil || n != 5 {
		t.Errorf("made %d, %v, want all but that of events of the first day", n, err)
	}
	if n := b.number(t, `SELECT count(*) FROM events_default`); n != 10_001 {
		t.Errorf("rows in the default partition = %d, want those of the first day", n)
	}
}

func TestPruner_strays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	now := time.Now()
	b.accept(t, b.at(t, now.AddDate(0, 0, -20), 7), b.at(t, now.AddDate(0, 0, 20), 2), b.at(t, now, 2))
	b.exec(t, `INSERT INTO attempts (delivery_id, number, started_at, duration_ms, request_headers, response_headers)
		SELECT id, 1, now(), 1, '[]', '[]' FROM deliveries`)
	if _, err := b.prune.DropPartitions(t.Context(), now, 72*time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"events", "deliveries", "attempts", "pending_deliveries"} {
		if n := b.number(t, `SELECT count(*) FROM `+table); n != 4 {
			t.Errorf("%s = %d, want the 4 that are not old", table, n)
		}
	}
	if l := b.lane(t, hook); l.Admitted+l.Queued != 4 || l.Admitted != l.RowsAdmitted || l.Queued != l.RowsQueued {
		t.Errorf("lane counts %+v, want those of 4 rows", l)
	}
}

func TestPruner_expiredKeysGoInBatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO idempotency_keys (tenant_id, key, body_hash, event_id, created_at)
		SELECT 'acme', n, sha256(''), gen_random_uuid(), now() - interval '25 hours' FROM generate_series(1, 25000) n`)
	b.exec(t, `INSERT INTO idempotency_keys (tenant_id, key, body_hash, event_id) VALUES ('acme', 'new', sha256(''), gen_random_uuid())`)
	b.exec(t, `CREATE TABLE batches (rows int)`)
	b.exec(t, `CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO batches SELECT count(*) FROM gone; RETURN NULL; END $$`)
	b.exec(t, `CREATE TRIGGER note AFTER DELETE ON idempotency_keys REFERENCING OLD TABLE AS gone
		FOR EACH STATEMENT EXECUTE FUNCTION note()`)
	if err := b.prune.DeleteExpired(t.Context(), 72*time.Hour); err != nil {
		t.Fatal(err)
	}
	if n := b.number(t, `SELECT count(*) FROM idempotency_keys`); n != 1 {
		t.Errorf("keys left = %d, want the one that has not expired", n)
	}
	if n := b.number(t, `SELECT max(rows) FROM batches`); n > 10_000 {
		t.Errorf("a statement deleted %d keys, want at most 10,000", n)
	}
}
