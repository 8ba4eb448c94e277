package app_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// ask stores a test send; nobody rings for it.
func (b *bundle) ask(of webhook.TenantID, id webhook.WebhookID) webhook.Owed {
	b.t.Helper()
	owed, _, err := postgres.NewTestSends(b.db).Ask(b.t.Context(), id, webhook.Event{
		ID: eventID(), Tenant: of, Type: webhook.TestEventType, Body: `{}`,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return owed
}

func TestWorker_testSendIsTriedOnceEvenWhenPaused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.webhook(nil)
	if _, err := b.db.Exec(`UPDATE webhooks SET status = 'paused'; UPDATE lanes SET open = false`); err != nil {
		t.Fatal(err)
	}
	b.receiver.answer = func(*http.Request, int) int { return 500 }
	b.worker()
	b.doorbell.Ring([]webhook.Owed{b.ask(tenant, id)})
	b.await("failed once", `status = 'failed' AND attempt_count = 1 FROM deliveries`)
}

func TestWorker_aTestSendWhoseWorkerOrAPIDiedIsNotSent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	begun, forgotten := b.ask(tenant, b.webhook(nil)), b.ask(tenant, b.webhook(nil))
	dead := postgres.NewWork(b.db, b.config.Keys, b.config.EndpointConcurrency, time.Now)
	if claims, err := dead.Claim(t.Context(), []webhook.DeliveryID{begun.Delivery}, "dead"); err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	if _, err := b.db.ExecContext(t.Context(), `UPDATE pending_deliveries SET rung_at = now() - interval '1 hour',
		due_at = now() - interval '1 hour', lease_until = CASE WHEN lease_holder = 'dead' THEN now() - interval '1 second' END`); err != nil {
		t.Fatal(err)
	}
	b.worker()
	b.doorbell.Ring([]webhook.Owed{begun, forgotten}) // as whoever found their bells would
	b.await("called off, with the reason", `count(*) = 2 FROM deliveries
		WHERE failure_reason = 'canceled' AND attempt_count = 0 AND last_error <> ''`)
	if total, _ := b.receiver.requests(); total != 0 {
		t.Errorf("%d requests, want none", total)
	}
}

func TestI10_testSendsThatHangKeepNobodyElsesWaiting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ slots, tests, hanging int }{
		"fewer than there are slots": {256, 40, 40},
		"more than there are slots":  {fewSlots, 40, hogSlots},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHog(t)
			defer close(h.letGo)
			h.config.Concurrency = c.slots
			hanging := h.webhook(func(w *webhook.Webhook) { w.URL += "/hang"; w.Policy.Timeout = webhook.MaxTimeout })
			healthy := h.webhook(func(w *webhook.Webhook) { w.Tenant = other })
			h.worker()
			for range c.tests {
				h.doorbell.Ring([]webhook.Owed{h.ask(tenant, hanging)})
			}
			h.await("all that may hang do", `count(*) = $1 FROM pending_deliveries WHERE lease_until IS NOT NULL`, c.hanging)
			h.doorbell.Ring([]webhook.Owed{h.ask(other, healthy)})
			h.await("the other one's has come, while they still hang", `EXISTS (SELECT FROM deliveries WHERE webhook_id = $1 AND status = 'success')
				AND count(*) = $2 FROM pending_deliveries WHERE lease_until IS NOT NULL`, healthy.UUID(), c.hanging)
		})
	}
}
