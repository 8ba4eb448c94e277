package postgres_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// leaveLeased has a window of deliveries leased when their webhook stops being
// active, and then gives one of them back and has the lease of another end.
func (b *manageBundle) leaveLeased(t *testing.T, stop func()) []webhook.DeliveryID {
	t.Helper()
	_, owed := b.accept(t, b.submission(t, "acme", window))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != window {
		t.Fatal(claims, err)
	}
	stop()
	if err := b.work.Release(t.Context(), claims[:1]); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE pending_deliveries SET lease_until = now() - interval '1 second' WHERE delivery_id = $1`, claims[1].Delivery.UUID())
	b.exec(t, `UPDATE pending_deliveries SET rung_at = now() - interval '1 minute'`)
	return ids(owed)
}

func TestWork_aWebhookThatIsNotActiveGetsNothing(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*manageBundle, webhook.WebhookID){
		"paused":   func(b *manageBundle, hook webhook.WebhookID) { b.set(t, "acme", hook, webhook.Paused) },
		"disabled": func(b *manageBundle, hook webhook.WebhookID) { b.disable(t, hook) },
		"deleted": func(b *manageBundle, hook webhook.WebhookID) {
			if err := b.hooks.Delete(t.Context(), "acme", hook, nowMs()); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupManage(t)
			hook := b.create(t, newWebhook(t, "acme", "*"))
			leased := b.leaveLeased(t, func() { stop(b, hook) })
			if claims, err := b.work.Claim(t.Context(), leased, "late"); err != nil || len(claims) != 0 {
				t.Errorf("claimed %d, %v, want none", len(claims), err)
			}
			if owed, err := b.relay.Unclaimed(t.Context(), 0, false, 100); err != nil || len(owed) != 0 {
				t.Errorf("the relay rings for %d, %v, want none", len(owed), err)
			}
			if diff := cmp.Diff(laneRow{window, 0, window, 0}, b.lane(t, hook)); diff != "" {
				t.Error(diff)
			}
			if name == "deleted" {
				b.buryAll(t, hook, 10)
				if n := b.count(t, `deliveries WHERE failure_reason = 'webhook_deleted'`); n != window-1 {
					t.Errorf("%d deliveries failed, want all but the one that is being sent", n)
				}
				return
			}
			b.set(t, "acme", hook, webhook.Active)
			owed, err := b.relay.Unclaimed(t.Context(), 0, false, 100)
			if err != nil || len(owed) != window-1 {
				t.Errorf("after a resume the relay rings for %d, %v, want all but the one that is being sent", len(owed), err)
			}
			if claims, err := b.work.Claim(t.Context(), ids(owed), "h2"); err != nil || len(claims) != window-1 {
				t.Errorf("claimed %d after a resume, %v", len(claims), err)
			}
		})
	}
}

func TestTestSends_areSentToNoDeletedWebhook(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	owed := b.ask(t, hook)
	if err := b.hooks.Delete(t.Context(), "acme", hook, nowMs()); err != nil {
		t.Fatal(err)
	}
	if claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{owed.Delivery}, "h"); err != nil || len(claims) != 0 {
		t.Errorf("claimed %d, %v, want none", len(claims), err)
	}
}
