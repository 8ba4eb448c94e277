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
	relay.Store // what is not asked for

	order []webhook.WebhookID
	pages map[webhook.WebhookID]int // left
	calls []webhook.WebhookID
}

func (g *graveyard) Unclaimed(context.Context, time.Duration, bool, int) ([]webhook.Owed, error) {
	return nil, nil
}

func (g *graveyard) WithRoom(context.Context, int, time.Duration, webhook.WebhookID, int) ([]webhook.WebhookID, error) {
	return nil, nil
}

func (g *graveyard) WithNotices(context.Context, webhook.TenantID, int) ([]webhook.TenantID, error) {
	return nil, nil
}

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

func TestRelay_aHugeDeletedWebhookTakesItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		huge, locked, small := hookID(1), hookID(2), hookID(3)
		store := &graveyard{
			order: []webhook.WebhookID{huge, locked, small},
			pages: map[webhook.WebhookID]int{huge: 1000, small: 2},
		}
		r := relay.New(relay.Config{
			Store: store, Doorbell: &bells{}, Canary: calm{}, Registry: prometheus.NewRegistry(), Log: quiet(), Window: window,
		})
		started := time.Now()
		r.Tick(t.Context())
		if took := time.Since(started); took > time.Second {
			t.Errorf("a tick took %s", took)
		}
		if want := []webhook.WebhookID{huge, locked, small, huge, small}; !slices.Equal(want, store.calls) {
			t.Errorf("turns = %v, want %v", store.calls, want)
		}
		store.calls = nil
		r.Tick(t.Context())
		if want := []webhook.WebhookID{huge, locked, small, huge, huge}; !slices.Equal(want, store.calls) {
			t.Errorf("turns = %v, want %v", store.calls, want)
		}
	})
}

func hookID(n byte) webhook.WebhookID { return webhook.NewWebhookID(time.UnixMilli(1), [10]byte{9: n}) }

// calm is a Redis that never forgets.
type calm struct{}

func (calm) Check(context.Context) (bool, error) { return false, nil }
func (calm) Plant(context.Context) error         { return nil }
