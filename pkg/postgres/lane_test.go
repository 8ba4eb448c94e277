package postgres_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// A claim locks deliveries by id. Where they lie in another order, whoever
// closes a lane must not lock them as it finds them.
func TestRelay_closesALaneInTheOrderOfAClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	sub := b.submission(t, "acme", window)
	for i := range sub.Events { // the newest id is stored first
		sub.Events[i].Event.ID = webhook.NewEventID(time.Now().Add(-time.Duration(i)*time.Second), random(t))
	}
	_, owed := b.accept(t, sub)
	inOrder := ids(owed)
	slices.SortFunc(inOrder, webhook.DeliveryID.Compare)

	claim := b.begin(t)
	lockDelivery(t, claim, inOrder[0])
	b.exec(t, `UPDATE lanes SET quiet_until = 'infinity'`)
	disabled := make(chan error, 1)
	go func() { // waited for below
		_, err := b.relay.DisableGone(context.WithoutCancel(t.Context()), []webhook.WebhookID{hook})
		disabled <- err
	}()
	b.awaitBlocked(t, 1)
	for _, id := range inOrder[1:] {
		lockDelivery(t, claim, id) // refused when Disable has it already
	}
	if err := claim.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-disabled; err != nil {
		t.Errorf("DisableGone beside a claim: %v", err)
	}
}

// What an admission finds in a lane that it had to wait for may have been admitted
// meanwhile, and be in the hands of a claim: who waits for that holds the claim up
// with what it has locked itself.
func TestWork_admittingWaitsForNoClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	b.accept(t, b.submission(t, "acme", window))
	b.exec(t, `UPDATE pending_deliveries SET admitted = false`)
	b.exec(t, `UPDATE lanes SET admitted = 0, queued = $1`, window)
	var first string
	if err := b.db.GetContext(t.Context(), &first, `SELECT delivery_id FROM pending_deliveries ORDER BY due_at, delivery_id LIMIT 1`); err != nil {
		t.Fatal(err)
	}
	other, claim := b.begin(t), b.begin(t)
	b.execIn(t, other, `UPDATE lanes SET admitted = 1, queued = queued - 1`)
	admitted := make(chan []webhook.Owed, 1)
	go func() { // waited for below
		adm, err := b.work.Admit(context.WithoutCancel(t.Context()), []webhook.WebhookID{hook}, webhook.Room{Ring: webhook.NoLimit})
		if err != nil {
			t.Error(err)
		}
		admitted <- adm.Rung
	}()
	b.awaitBlocked(t, 1)
	b.execIn(t, claim, `UPDATE pending_deliveries SET admitted = true WHERE delivery_id = $1`, first)
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	select {
	case owed := <-admitted:
		if len(owed) == 0 || slices.ContainsFunc(owed, func(o webhook.Owed) bool { return o.Delivery.UUID() == first }) {
			t.Errorf("admits %v, want others than %s", owed, first)
		}
	case <-time.After(10 * time.Second):
		t.Error("waits for a claim")
		_ = claim.Rollback()
		<-admitted
	}
}

// As many may be queued as before, and yet be others: who had to wait for the lane
// looks again when nobody else is there to go on.
func TestWork_fillLooksAgainForWhatCameWhileItWaited(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	b.accept(t, b.submission(t, "acme", 1))
	b.exec(t, `UPDATE pending_deliveries SET admitted = false`)
	b.exec(t, `UPDATE lanes SET admitted = 0, queued = 1`)
	other := b.begin(t) // sees to the one delivery, and queues another
	b.execIn(t, other, `UPDATE pending_deliveries SET delivery_id = gen_random_uuid()`)
	b.execIn(t, other, `UPDATE lanes SET queued = queued`)
	filled := make(chan []webhook.Owed, 1)
	go func() { // waited for below
		owed, err := b.work.Fill(context.WithoutCancel(t.Context()), []webhook.WebhookID{hook})
		if err != nil {
			t.Error(err)
		}
		filled <- owed
	}()
	b.awaitBlocked(t, 1)
	if err := other.Commit(); err != nil {
		t.Fatal(err)
	}
	if owed := <-filled; len(owed) != 1 {
		t.Errorf("rung for %v, want the one that came", owed)
	}
}

func (b *bundle) execIn(t *testing.T, tx *sqlx.Tx, query string, args ...any) {
	t.Helper()
	if _, err := tx.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) begin(t *testing.T) *sqlx.Tx {
	t.Helper()
	tx, err := b.db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

func lockDelivery(t *testing.T, tx *sqlx.Tx, id webhook.DeliveryID) {
	t.Helper()
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM pending_deliveries WHERE delivery_id = $1 FOR UPDATE NOWAIT`, id.UUID()); err != nil {
		t.Errorf("locking %s: %v", id, err)
	}
}

// awaitBlocked returns when so many sessions of this database wait for a lock.
func (b *bundle) awaitBlocked(t *testing.T, sessions int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for blocked := false; !blocked; {
		err := b.db.GetContext(t.Context(), &blocked, `SELECT count(*) >= $1 FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`, sessions)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %d sessions wait for a lock", sessions)
		}
	}
}
