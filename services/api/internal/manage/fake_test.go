package manage_test

import (
	"context"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

// oneTest is stores that hold one test send and no network, for tests that play
// with time.
type oneTest struct {
	manage.DeliveryStore
	manage.TestStore
	asked    time.Time
	delivery webhook.Delivery
	// finish says what the delivery looks like a while after it was asked for.
	finish   func(d *webhook.Delivery, after time.Duration)
	leased   bool // a worker has it
	canceled bool
	looks    int
}

func (f *oneTest) Ask(_ context.Context, hook webhook.WebhookID, e webhook.Event) (webhook.Owed, time.Duration, error) {
	f.asked = time.Now()
	id := webhook.DeliveryIDFor(e.ID, hook)
	f.delivery = webhook.Delivery{
		ID: id, Tenant: e.Tenant, WebhookID: hook, EventID: e.ID, EventType: e.Type,
		Kind: webhook.KindTest, Status: webhook.Pending, MaxAttempts: 1,
	}
	owed := webhook.Owed{Delivery: id, Webhook: hook, Tenant: e.Tenant, EventType: e.Type.String(), Kind: webhook.KindTest, Attempt: 1}
	return owed, webhook.DefaultTimeout, nil
}

func (f *oneTest) Cancel(ctx context.Context, _ webhook.TenantID, _ webhook.DeliveryID) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if f.leased || f.delivery.Status.Finished() {
		return false, nil
	}
	f.canceled = true
	f.delivery.Status, f.delivery.FailureReason = webhook.Failed, webhook.Canceled
	return true, nil
}

func (f *oneTest) Get(ctx context.Context, _ webhook.TenantID, _ webhook.DeliveryID) (webhook.Delivery, error) {
	f.looks++
	if f.finish != nil && !f.delivery.Status.Finished() {
		f.finish(&f.delivery, time.Since(f.asked))
	}
	return f.delivery, ctx.Err()
}

func (f *oneTest) Attempts(context.Context, webhook.TenantID, []webhook.DeliveryID, int) (map[webhook.DeliveryID][]webhook.Attempt, error) {
	return map[webhook.DeliveryID][]webhook.Attempt{f.delivery.ID: {{Number: 1, Duration: 42 * time.Millisecond}}}, nil
}

func (f *oneTest) service() *manage.Service {
	return manage.New(manage.Config{
		Deliveries: f, Tests: f, Doorbell: &bell{}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
}

// bell remembers what it was rung for.
type bell struct {
	rung, replayed []webhook.Owed
	// ring is called for each ring, when set.
	ring func(owed []webhook.Owed)
}

func (b *bell) Ring(owed []webhook.Owed) {
	b.rung = append(b.rung, owed...)
	if b.ring != nil {
		b.ring(owed)
	}
}

func (b *bell) RingReplay(owed []webhook.Owed) { b.replayed = append(b.replayed, owed...) }
