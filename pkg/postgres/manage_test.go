package postgres_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// manageBundle has the stores of management beside those of delivery.
type manageBundle struct {
	*bundle
	hooks      *postgres.Webhooks
	deliveries *postgres.Deliveries
	tests      *postgres.TestSends
}

func setupManage(t testing.TB) *manageBundle {
	t.Helper()
	url := postgrestest.New(t)
	hot, err := postgres.Open(postgres.Config{URL: url, HotPath: true})
	if err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = hot.Close(), db.Close() })
	keys, err := seal.ParseKeys("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	return &manageBundle{
		bundle: &bundle{
			db: hot, keys: keys,
			events: postgres.NewEvents(hot, window), work: postgres.NewWork(hot, keys, window, time.Now),
			relay: postgres.NewRelay(hot), prune: postgres.NewPruner(hot),
		},
		hooks: postgres.NewWebhooks(db, keys), deliveries: postgres.NewDeliveries(db, window), tests: postgres.NewTestSends(db),
	}
}

func newWebhook(t testing.TB, tenant webhook.TenantID, patterns ...string) webhook.Webhook {
	t.Helper()
	s, err := webhook.Draft{Name: "name", URL: "https://example.com/in", Patterns: patterns}.Parse(webhook.URLRules{})
	if err != nil {
		t.Fatal(err)
	}
	return s.Webhook(webhook.NewWebhookID(time.Now(), random(t)), tenant, "user-1", nowMs())
}

// nowMs is what PostgreSQL gives back as it was.
func nowMs() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

func secret(t testing.TB, fill byte) webhook.Secret {
	t.Helper()
	key := make([]byte, 32)
	for i := range key {
		key[i] = fill
	}
	s, err := webhook.SecretFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *manageBundle) create(t testing.TB, w webhook.Webhook) webhook.WebhookID {
	t.Helper()
	if err := b.hooks.Create(t.Context(), w, secret(t, 1)); err != nil {
		t.Fatal(err)
	}
	return w.ID
}

func (b *manageBundle) set(t testing.TB, tenant webhook.TenantID, id webhook.WebhookID, status webhook.Status) {
	t.Helper()
	_, err := b.hooks.Update(t.Context(), tenant, id, nowMs(), func(w webhook.Webhook) (webhook.Webhook, error) {
		return webhook.Change{Status: &status, By: "user-2"}.Apply(w, webhook.URLRules{})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// fail makes the delivery of one event fail for good and returns its id.
func (b *manageBundle) fail(t testing.TB, tenant webhook.TenantID) webhook.DeliveryID {
	t.Helper()
	_, owed := b.accept(t, b.submission(t, tenant, 1))
	if len(owed) != 1 {
		t.Fatalf("owed %d, want 1", len(owed))
	}
	b.settle(t, owed[0].Delivery, webhook.Failed)
	return owed[0].Delivery
}

// settle claims a delivery and records an attempt that ends in status.
func (b *manageBundle) settle(t testing.TB, id webhook.DeliveryID, status webhook.DeliveryStatus) {
	t.Helper()
	claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{id}, "settle")
	if err != nil || len(claims) != 1 {
		t.Fatalf("claimed %d, %v, want 1", len(claims), err)
	}
	adm, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], status)}, webhook.Room{Ring: webhook.NoLimit})
	if err != nil || len(adm.Lost) > 0 {
		t.Fatal(adm.Lost, err)
	}
}

func wantKind(t testing.TB, what string, err error, kind *webhook.Error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: %v, want kind %d", what, err, kind.Kind)
	}
}

func TestI5_managementSeesItsOwnTenantOnly(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	id := b.create(t, newWebhook(t, "acme", "*"))
	b.create(t, newWebhook(t, "other", "*"))
	delivery := b.fail(t, "acme")
	own, err := b.deliveries.Get(t.Context(), "acme", delivery)
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := webhook.ParseEventType("lead.created")
	ctx := t.Context()
	const other webhook.TenantID = "other"
	noChange := func(w webhook.Webhook) (webhook.Webhook, error) { w.Name = "stolen"; return w, nil }

	for name, call := range map[string]func() error{
		"get webhook": func() error { _, err := b.hooks.Get(ctx, other, id); return err },
		"update":      func() error { _, err := b.hooks.Update(ctx, other, id, nowMs(), noChange); return err },
		"delete":      func() error { return b.hooks.Delete(ctx, other, id, nowMs()) },
		"rotate": func() error {
			_, err := b.hooks.Rotate(ctx, other, id, secret(t, 2), nowMs(), nowMs().Add(time.Hour))
			return err
		},
		"test send": func() error {
			_, _, err := b.tests.Ask(ctx, id, webhook.Event{ID: webhook.NewEventID(nowMs(), random(t)), Tenant: other, Type: typ, Body: "{}"})
			return err
		},
		"get delivery": func() error { _, err := b.deliveries.Get(ctx, other, delivery); return err },
		"retry":        func() error { _, _, err := b.deliveries.Retry(ctx, other, delivery); return err },
		"stats":        func() error { _, err := b.deliveries.Stats(ctx, other, &id, webhook.Period{}); return err },
	} {
		wantKind(t, name, call(), webhook.ErrNotFound)
	}
	after := delivery
	for name, count := range map[string]func() (int, error){
		"webhooks by id": func() (int, error) {
			m, err := b.hooks.ByID(ctx, other, []webhook.WebhookID{id})
			return len(m), err
		},
		"deliveries": func() (int, error) {
			p, err := b.deliveries.List(ctx, other, webhook.DeliveryFilter{Webhook: &id}, webhook.Page[webhook.DeliveryID]{Limit: 9})
			return len(p.Items), err
		},
		"deliveries around a foreign cursor": func() (int, error) {
			p, err := b.deliveries.List(ctx, other, webhook.DeliveryFilter{Event: &own.EventID},
				webhook.Page[webhook.DeliveryID]{Limit: 9, After: &after, Before: &after})
			if p.HasNext || p.HasPrevious {
				t.Error("a foreign cursor tells that its row exists")
			}
			return len(p.Items), err
		},
		"count of deliveries": func() (int, error) {
			return b.deliveries.Count(ctx, other, webhook.DeliveryFilter{Event: &own.EventID})
		},
		"attempts": func() (int, error) {
			m, err := b.deliveries.Attempts(ctx, other, []webhook.DeliveryID{delivery}, math.MaxInt)
			return len(m), err
		},
		"payloads": func() (int, error) {
			m, err := b.deliveries.Payloads(ctx, other, []webhook.EventID{own.EventID}, math.MaxInt)
			return len(m), err
		},
		"stats": func() (int, error) {
			s, err := b.deliveries.Stats(ctx, other, nil, webhook.Period{})
			return s.Total, err
		},
	} {
		if n, err := count(); err != nil || n != 0 {
			t.Errorf("%s of another tenant = %d, %v, want 0", name, n, err)
		}
	}
	if n, err := b.hooks.Count(ctx, other, webhook.WebhookFilter{}); err != nil || n != 1 {
		t.Errorf("webhooks of the other tenant = %d, %v, want its own one", n, err)
	}
	if done, err := b.tests.Cancel(ctx, other, delivery); err != nil || done {
		t.Errorf("canceled another tenant's test: %v, %v", done, err)
	}
	if w, err := b.hooks.Get(ctx, "acme", id); err != nil || w.Name != "name" {
		t.Errorf("webhook = %q, %v, want it untouched", w.Name, err)
	}
}
