package relay_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/relay"
)

func TestRelay_aQuietLaneGoesOnInTheNextTick(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	b.exec(`UPDATE lanes SET quiet_until = now() + interval '1 minute'`)
	if owed := b.accept(window + 2); len(owed) != 0 {
		t.Fatalf("admitted %d to a quiet lane", len(owed))
	}
	b.exec(`UPDATE pending_deliveries SET due_at = now() - interval '10 seconds'`)
	b.tick("while it is quiet", 0)
	b.exec(`UPDATE pending_deliveries SET due_at = now()`)
	b.exec(`UPDATE lanes SET quiet_until = now()`)
	b.tick("when it is not", window)
}

func TestRelay_ringsForWhatItAnnounces(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	b.exec(`UPDATE subscriptions SET pattern = 'webhook.*'`)
	// More than a page, about a webhook that is not there any more.
	b.exec(`INSERT INTO notices (tenant_id, type, webhook_id) SELECT $1, 'webhook.disabled', gen_random_uuid() FROM generate_series(1, 60)`, tenant)
	b.tick("its window", window)
	var left, owed int
	if err := b.db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM notices), (SELECT count(*) FROM pending_deliveries)`).Scan(&left, &owed); err != nil || left != 0 || owed != 60 {
		t.Errorf("notices left: %d, deliveries owed: %d, %v, want 0 and 60", left, owed, err)
	}
}

// gossip is a store of notices only; every page takes 100 ms.
type gossip struct {
	relay.Store // what is not asked for

	pages map[webhook.TenantID]int // left
	turns []webhook.TenantID
}

func (g *gossip) Unclaimed(context.Context, time.Duration, bool, int) ([]webhook.Owed, error) {
	return nil, nil
}

func (g *gossip) WithRoom(context.Context, int, time.Duration, webhook.WebhookID, int) ([]webhook.WebhookID, error) {
	return nil, nil
}

func (g *gossip) WithNotices(_ context.Context, after webhook.TenantID, _ int) (tenants []webhook.TenantID, err error) {
	for _, tenant := range slices.Sorted(maps.Keys(g.pages)) {
		if tenant > after && g.pages[tenant] > 0 {
			tenants = append(tenants, tenant)
		}
	}
	return tenants, nil
}

func (g *gossip) Announce(_ context.Context, tenant webhook.TenantID, _, limit int) (int, []webhook.Owed, error) {
	<-time.After(100 * time.Millisecond) // of the bubble's time
	g.turns = append(g.turns, tenant)
	if tenant == "locked" {
		return 0, nil, errors.New("somebody holds a lane")
	}
	if g.pages[tenant]--; g.pages[tenant] > 0 {
		return limit, nil, nil
	}
	return 1, nil, nil
}

func TestI10_aTenantWithMuchNewsTakesItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &gossip{pages: map[webhook.TenantID]int{"busy": 1000, "locked": 1, "small": 2}}
		r := relay.New(relay.Config{
			Store: store, Doorbell: &bells{}, Canary: calm{}, Registry: prometheus.NewRegistry(), Log: quiet(), Window: window,
		})
		for _, want := range [][]webhook.TenantID{
			{"busy", "locked", "small", "busy", "locked"},
			{"small", "busy", "locked", "busy", "locked"},
		} {
			store.turns = nil
			started := time.Now()
			r.Tick(t.Context())
			if took := time.Since(started); took > time.Second {
				t.Errorf("a tick took %s", took)
			}
			if !slices.Equal(want, store.turns) {
				t.Errorf("turns = %v, want %v", store.turns, want)
			}
		}
	})
}

// calm is a Redis that never forgets.
type calm struct{}

func (calm) Check(context.Context) (bool, error) { return false, nil }
func (calm) Plant(context.Context) error         { return nil }
