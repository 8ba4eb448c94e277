package relay_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/relay"
)

// graveyard is a store of deleted webhooks only; every page takes 100 ms.
type graveyard struct {
	relay.Lanes // what is not asked for

	order []webhook.WebhookID
	pages map[webhook.WebhookID]int // left
	calls []webhook.WebhookID
}

func (g *graveyard) EndTests(context.Context, int) error { return nil }

func (g *graveyard) Deleted(_ context.Context, after webhook.WebhookID, _ int) ([]webhook.WebhookID, error) {
	for i, hook := range g.order {
		if hook == after {
			return append(append([]webhook.WebhookID{}, g.order[i+1:]...), g.order[:i+1]...), nil
		}
	}
	return g.order, nil
}

func (g *graveyard) Bury(_ context.Context, hook webhook.WebhookID, _ int) (bool, error) {
	<-time.After(100 * time.Millisecond) // of the bubble's time
	g.calls = append(g.calls, hook)
	g.pages[hook]--
	return g.pages[hook] > 0, nil
}

func TestKeeper_aHugeDeletedWebhookTakesItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		huge, locked, small := hookID(1), hookID(2), hookID(3)
		store := &graveyard{
			order: []webhook.WebhookID{huge, locked, small},
			pages: map[webhook.WebhookID]int{huge: 1000, small: 2},
		}
		k := relay.NewKeeper(relay.KeeperConfig{Lanes: store, Registry: prometheus.NewRegistry(), Log: quiet()})
		started := time.Now()
		k.Tick(t.Context())
		if took := time.Since(started); took > time.Second {
			t.Errorf("a tick took %s", took)
		}
		if want := []webhook.WebhookID{huge, locked, small, huge, small}; !slices.Equal(want, store.calls) {
			t.Errorf("turns = %v, want %v", store.calls, want)
		}
		store.calls = nil
		k.Tick(t.Context())
		if want := []webhook.WebhookID{huge, locked, small, huge, huge}; !slices.Equal(want, store.calls) {
			t.Errorf("turns = %v, want %v", store.calls, want)
		}
	})
}

func hookID(n byte) webhook.WebhookID { return webhook.NewWebhookID(time.UnixMilli(1), [10]byte{9: n}) }

func TestKeeper_disablesWhatOnlyFailsWithinTenTicks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owed := b.accept(1)
	claims, err := b.work.Claim(t.Context(), deliveries(owed), "h")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	_, err = b.work.Record(t.Context(), []webhook.Outcome{{
		Claim: claims[0], Attempt: webhook.Attempt{Number: 1, ErrorClass: webhook.ClassTimeout, Error: "x"},
		Next: webhook.Next{Status: webhook.Failed, Reason: webhook.AttemptsExhausted},
	}}, webhook.Room{Ring: webhook.NoLimit})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ age, want string }{{"59 minutes", "active"}, {"1 hour", "disabled"}} {
		b.exec(`UPDATE lanes SET failing_since = failed_at - '` + step.age + `'::interval`)
		for range 10 {
			b.keeper.Tick(t.Context())
		}
		var status string
		if err := b.db.GetContext(t.Context(), &status, `SELECT status FROM webhooks`); err != nil || status != step.want {
			t.Errorf("after failing for %s: %s, %v, want %s", step.age, status, err, step.want)
		}
	}
}

func TestKeeper_disablesWhatAnswered410WithinTenTicks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owed := b.accept(window + 2)
	claims, err := b.work.Claim(t.Context(), deliveries(owed[:1]), "h")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	adm, err := b.work.Record(t.Context(), []webhook.Outcome{{ // and whoever records it dies
		Claim: claims[0], Attempt: webhook.Attempt{Number: 1, ResponseStatus: 410, ErrorClass: webhook.ClassStatus, Error: "x"},
		Next: webhook.Next{Status: webhook.Failed, Reason: webhook.ReceiverGone, DisableWebhook: true},
	}}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Ring: webhook.NoLimit, Holder: "h"})
	if err != nil || len(adm.Claimed)+len(adm.Rung) != 0 {
		t.Fatal(adm, err)
	}
	b.exec(`UPDATE pending_deliveries SET rung_at = now() - interval '1 hour', due_at = now() - interval '1 hour'`)
	for range 10 {
		b.tick("after a 410", 0)
		b.keeper.Tick(t.Context())
	}
	var status string
	if err := b.db.GetContext(t.Context(), &status, `SELECT status FROM webhooks`); err != nil || status != "disabled" {
		t.Errorf("the webhook is %s, %v", status, err)
	}
}
