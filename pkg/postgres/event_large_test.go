package postgres_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func acceptLarge(t *testing.T, b *bundle, sub webhook.Submission) (webhook.Receipt, []webhook.Owed) {
	t.Helper()
	receipt, owed, err := b.events.AcceptLarge(t.Context(), sub)
	if err != nil {
		t.Fatal(err)
	}
	return receipt, owed
}

// Both ways of accepting leave the same behind.
func TestAcceptLarge_isAcceptForOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hooks := []webhook.WebhookID{b.webhook(t, "acme", "*", "lead.*"), b.webhook(t, "acme", "lead.created"), b.webhook(t, "acme", "account.*")}
	closed := b.webhook(t, "acme", "*")
	b.exec(t, `UPDATE lanes SET open = false WHERE webhook_id = $1`, closed.UUID())
	b.accept(t, b.submission(t, "acme", 1)) // one slot of three is taken

	sub := b.submission(t, "acme", 10)
	receipt, owed := acceptLarge(t, b, sub)
	if len(owed) != 4 {
		t.Errorf("rang for %d, want two for each of two webhooks", len(owed))
	}
	for i, e := range receipt.Events {
		if e.ID != sub.Events[i].Event.ID || e.Deliveries != 3 || e.Duplicate {
			t.Errorf("event %d: %+v, want 3 deliveries", i, e)
		}
	}
	for i, want := range []laneRow{{3, 8, 3, 8}, {3, 8, 3, 8}, {}} {
		if diff := cmp.Diff(want, b.lane(t, hooks[i])); diff != "" {
			t.Errorf("lane %d (-want +got)\n%s", i, diff)
		}
	}
	if diff := cmp.Diff(laneRow{0, 11, 0, 11}, b.lane(t, closed)); diff != "" {
		t.Errorf("closed lane (-want +got)\n%s", diff)
	}
	for _, o := range owed {
		if o.Tenant != "acme" || o.EventType != "lead.created" || o.Attempt != 1 || o.Kind != webhook.KindEvent {
			t.Errorf("owed = %+v", o)
		}
	}
	if claims, err := b.work.Claim(t.Context(), ids(owed), "h"); err != nil || len(claims) != 4 {
		t.Errorf("claimed %d, %v, want all that was rung for", len(claims), err)
	}
	var orphans int
	if err := b.db.GetContext(t.Context(), &orphans, `SELECT count(*) FROM deliveries d WHERE status = 'pending'
		AND NOT EXISTS (SELECT FROM pending_deliveries p WHERE p.delivery_id = d.id)`); err != nil || orphans != 0 {
		t.Errorf("%d deliveries that nobody will send, %v", orphans, err)
	}
}

func TestAcceptLarge_keys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	sub := b.submission(t, "acme", 5)
	sub.Events[2].IdempotencyKey = "k"
	first, _ := acceptLarge(t, b, sub)
	again := b.submission(t, "acme", 5)
	again.Events[0].IdempotencyKey = "k"
	second, _ := acceptLarge(t, b, again)
	if got := second.Events[0]; got.ID != first.Events[2].ID || !got.Duplicate || got.Deliveries != 1 {
		t.Errorf("second use of a key = %+v, want event %s", got, first.Events[2].ID)
	}
	conflict := b.submission(t, "acme", 5)
	conflict.Events[4].IdempotencyKey, conflict.Events[4].Fingerprint = "k", [32]byte{1}
	if receipt, owed := acceptLarge(t, b, conflict); receipt.Err == nil || len(owed) != 0 {
		t.Errorf("another body under the key: %+v, rang %d", receipt.Err, len(owed))
	}
	var events int
	if err := b.db.GetContext(t.Context(), &events, `SELECT count(*) FROM events`); err != nil || events != 9 {
		t.Errorf("stored %d events, %v, want 5 + 4 + 0", events, err)
	}
	if receipt, owed := acceptLarge(t, b, b.submission(t, "nobody", 5)); len(owed) != 0 || receipt.Err != nil || receipt.Events[4].Deliveries != 0 {
		t.Errorf("nobody subscribes: %+v, rang %d", receipt, len(owed))
	}
}

// A webhook that is deleted while a large submission is being stored is owed
// nothing of it, and the submission is stored whole.
func TestAcceptLarge_webhookDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stays, goes := b.webhook(t, "acme", "*"), b.webhook(t, "acme", "*")
	tx, err := b.db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, query := range []string{
		`DELETE FROM subscriptions WHERE webhook_id = $1`,
		`UPDATE lanes SET open = false, deleted = true WHERE webhook_id = $1`, // accepting waits here
	} {
		if _, err := tx.ExecContext(t.Context(), query, goes.UUID()); err != nil {
			t.Fatal(err)
		}
	}
	type answer struct {
		receipt webhook.Receipt
		err     error
	}
	done := make(chan answer, 1)
	ctx := context.WithoutCancel(t.Context())
	sub := b.submission(t, "acme", 5)
	go func() {
		receipt, _, err := b.events.AcceptLarge(ctx, sub)
		done <- answer{receipt, err}
	}()
	b.awaitLockWaiter(t)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	got := <-done
	if got.err != nil || got.receipt.Events[4].Deliveries != 1 {
		t.Errorf("answer = %+v, want one delivery for each event", got)
	}
	if diff := cmp.Diff(laneRow{3, 2, 3, 2}, b.lane(t, stays)); diff != "" {
		t.Errorf("lane that stays (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(laneRow{}, b.lane(t, goes)); diff != "" {
		t.Errorf("deleted lane (-want +got)\n%s", diff)
	}
}

// awaitLockWaiter returns when a statement in this database waits for a lock.
// PostgreSQL tells nobody, so the server looks, until its statement timeout.
func (b *bundle) awaitLockWaiter(t *testing.T) {
	t.Helper()
	b.exec(t, `DO $$ BEGIN
		WHILE NOT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()) LOOP
			PERFORM pg_sleep(0.01), pg_stat_clear_snapshot();
		END LOOP;
	END $$`)
}
