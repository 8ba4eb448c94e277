package app_test

import (
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// An index is made on attempts: whoever claims does not notice, and nobody can
// record. What was sent is not sent again when the leases should have ended.
func TestI3_whatCannotBeRecordedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(func(w *webhook.Webhook) { w.Policy.Timeout = 500 * time.Millisecond })
	b.webhook(func(w *webhook.Webhook) { w.Policy.Timeout = 500 * time.Millisecond })
	const rung = 6 // two windows
	owed := b.accept(rung)
	tx, err := b.db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE attempts IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	b.worker()
	b.doorbell.RingFirst(owed)
	for range rung {
		<-b.receiver.came
	}
	var over time.Time
	if err := b.db.GetContext(t.Context(), &over, `SELECT max(rung_at + (timeout_ms + 10000) * interval '1 millisecond')
		FROM pending_deliveries p JOIN webhooks w ON w.id = p.webhook_id WHERE lease_until IS NOT NULL`); err != nil {
		t.Fatal(err)
	}
	b.await("the leases to be over, and the relay to have had time to ring", `now() > $1::timestamptz + interval '4 seconds'`, over)
	if total, most := b.receiver.requests(); total != rung || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want %d and 1", total, most, rung)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	b.await("all delivered", allSucceeded, 2*rung)
	if total, most := b.receiver.requests(); total != 2*rung || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want %d and 1", total, most, 2*rung)
	}
}
