package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func (b *manageBundle) ask(t testing.TB, hook webhook.WebhookID) webhook.Owed {
	t.Helper()
	owed, timeout, err := b.tests.Ask(t.Context(), hook, webhook.Event{
		ID: webhook.NewEventID(nowMs(), random(t)), Tenant: "acme", Type: webhook.TestEventType, Body: `{"test":1}`, TraceParent: "00-x",
	})
	if err != nil || timeout != webhook.DefaultTimeout {
		t.Fatal(timeout, err)
	}
	return owed
}

func TestTestSends_goOutWhateverTheStatusAndTakeNoSlot(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	b.set(t, "acme", hook, webhook.Paused)
	owed := b.ask(t, hook)
	if owed.Kind != webhook.KindTest || owed.Attempt != 1 {
		t.Errorf("owed = %+v", owed)
	}
	claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{owed.Delivery}, "h")
	if err != nil || len(claims) != 1 || claims[0].Body != `{"test":1}` || claims[0].LastAttempt != 1 || claims[0].TraceParent != "00-x" {
		t.Fatal(claims, err)
	}
	if done, err := b.tests.Cancel(t.Context(), "acme", owed.Delivery); err != nil || done {
		t.Errorf("canceled while under way: %v, %v", done, err)
	}
	if _, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], webhook.Succeeded)}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
		t.Fatal(err)
	}
	if done, err := b.tests.Cancel(t.Context(), "acme", owed.Delivery); err != nil || done {
		t.Errorf("canceled when finished: %v, %v", done, err)
	}
	d, err := b.deliveries.Get(t.Context(), "acme", owed.Delivery)
	if err != nil || d.Status != webhook.Succeeded || d.Kind != webhook.KindTest {
		t.Errorf("delivery = %+v, %v", d, err)
	}
	if diff := cmp.Diff(laneRow{}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

func TestTestSends_canceledIsNeverSent(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	for name, before := range map[string]string{
		"nobody came":     ``,
		"the worker died": `UPDATE pending_deliveries SET lease_until = now() - interval '1 s', lease_holder = 'dead'`,
	} {
		t.Run(name, func(t *testing.T) {
			owed := b.ask(t, hook)
			if before != "" {
				b.exec(t, before)
			}
			if done, err := b.tests.Cancel(t.Context(), "acme", owed.Delivery); err != nil || !done {
				t.Errorf("canceled = %v, %v, want true", done, err)
			}
			if claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{owed.Delivery}, "h"); err != nil || len(claims) != 0 {
				t.Errorf("claims = %d, %v, want 0", len(claims), err)
			}
			d, err := b.deliveries.Get(t.Context(), "acme", owed.Delivery)
			if err != nil || d.Status != webhook.Failed || d.FailureReason != webhook.Canceled || time.Since(d.CompletedAt) > time.Minute {
				t.Errorf("delivery = %+v, %v", d, err)
			}
		})
	}
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	if done, err := b.tests.Cancel(t.Context(), "acme", owed[0].Delivery); err != nil || done {
		t.Errorf("canceled an event's delivery: %v, %v", done, err)
	}
}
