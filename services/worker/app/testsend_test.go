package app_test

import (
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// test asks for a test send of a webhook, and rings for it.
func (b *bundle) test(tenant webhook.TenantID, id webhook.WebhookID) {
	b.t.Helper()
	owed, _, err := postgres.NewTestSends(b.db).Ask(b.t.Context(), id, webhook.Event{
		ID: eventID(), Tenant: tenant, Type: webhook.TestEventType, Body: `{}`,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.doorbell.Ring([]webhook.Owed{owed})
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
				h.test(tenant, hanging)
			}
			h.await("all that may hang do", `count(*) = $1 FROM pending_deliveries WHERE lease_until IS NOT NULL`, c.hanging)
			h.test(other, healthy)
			h.await("the other one's has come, while they still hang", `EXISTS (SELECT FROM deliveries WHERE webhook_id = $1 AND status = 'success')
				AND count(*) = $2 FROM pending_deliveries WHERE lease_until IS NOT NULL`, healthy.UUID(), c.hanging)
		})
	}
}
