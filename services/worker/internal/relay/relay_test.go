package relay_test

import (
	"context"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/relay"
)

const (
	// age makes everything look as if it had been rung for a while ago.
	age = `UPDATE pending_deliveries SET rung_at = now() - interval '3 seconds'`
	// tire makes the relay patient with everything: 64 s until the next ring.
	tire = `UPDATE pending_deliveries SET rings = 5, rung_at = now() - interval '3 seconds'`
)

func TestI2_whatWasNeverRungIsRungAfterItsAge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	owed := b.accept(2)
	b.exec(`UPDATE pending_deliveries SET rung_at = now() + interval '1 minute'`) // however slow this machine is
	b.tick("within its age", 0)
	b.exec(age)
	b.tick("after its age", 2)
	b.tick("just rung for", 0)
	b.exec(age)
	b.tick("a second time it takes longer", 0)
	b.answered(owed)
}

func TestI2_anExpiredLeaseIsRungFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	owed := b.accept(1)
	claims, err := b.work.Claim(t.Context(), deliveries(owed), "a worker that dies")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	b.exec(age)
	b.tick("while it is leased", 0)
	b.exec(`UPDATE pending_deliveries SET lease_until = now()`)
	b.tick("its lease has only just ended", 0)
	b.exec(`UPDATE pending_deliveries SET lease_until = now() - interval '3 seconds'`)
	b.tick("its lease is over", 1)
	b.answered(owed)
}

func TestI2_aFreeSlotIsFilledAndRungFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	b.accept(window + 2)
	b.exec(`UPDATE pending_deliveries SET due_at = now() - interval '3 seconds'`)
	b.tick("no room", 0)
	// A slot is lost with the worker that would have handed it on.
	b.exec(`DELETE FROM pending_deliveries WHERE delivery_id IN (SELECT delivery_id FROM pending_deliveries WHERE admitted LIMIT 1)`)
	b.exec(`UPDATE lanes SET admitted = admitted - 1`)
	b.tick("room for one", 1)
	b.tick("no room again", 0)
}

func TestI2_whenRedisForgetsEverythingIsRungForAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	owed := b.accept(window + 2)
	b.exec(tire)
	b.tick("patiently", 0)
	// redistest forbids FLUSHALL: other tests use the same server.
	if err := b.server.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.tick("Redis has forgotten", window)
	b.tick("made good", 0)
	b.metric("hooks_redis_losses_total", 2) // the first time it was new
	b.answered(owed)
}

func TestI2_whileRedisIsAwayNothingIsMarkedAsRung(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	owed := b.accept(2)
	b.exec(tire)
	var before, after []string
	marks := `SELECT delivery_id || rung_at::text || rings FROM pending_deliveries ORDER BY 1`
	if err := b.db.SelectContext(t.Context(), &before, marks); err != nil {
		t.Fatal(err)
	}
	b.path.shut.Store(true)
	b.tick("Redis is away", 0)
	b.tick("and still", 0)
	if err := b.db.SelectContext(t.Context(), &after, marks); err != nil {
		t.Fatal(err)
	}
	for i := range before {
		if before[i] != after[i] {
			t.Errorf("marked as rung: %s, was %s", after[i], before[i])
		}
	}
	b.path.shut.Store(false)
	b.tick("Redis is back", 2)
	b.tick("made good", 0)
	b.answered(owed)
}

// Between two ticks Redis goes away and comes back: the canary sees nothing of
// it, but the doorbell does.
func TestI2_ringsThatFailedAreRungAgainAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	owed := b.accept(2)
	b.exec(age)
	ring := b.bells.next
	b.bells.next = func(failing []webhook.Owed) {
		b.path.shut.Store(true)
		ring(failing)
		b.metric("hooks_ring_failures_total", 2)
	}
	b.tick("rung in vain", 2)
	b.bells.next = ring
	b.path.shut.Store(false)
	b.tick("the next tick", 2)
	b.tick("made good", 0)
	b.answered(owed)
}

func TestRelay_onlyTheLeaderRings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owed := b.accept(2)
	b.exec(age)
	other, err := postgres.Lead(t.Context(), b.db, postgres.RelayLock)
	if err != nil || other == nil {
		t.Fatal(other, err)
	}
	asked := make(chan bool, 100)
	b.leads = func(ctx context.Context) (relay.Leadership, error) {
		leader, err := postgres.Lead(ctx, b.db, postgres.RelayLock)
		asked <- leader != nil
		if leader == nil {
			return nil, err
		}
		return leader, err
	}
	b.background(b.relay.Run)
	for range 2 { // the second time, the first round is over
		if <-asked {
			t.Fatal("two lead")
		}
	}
	if n := len(b.bells.rung); n != 0 {
		t.Errorf("rang %d times without leading", n)
	}
	if err := other.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !<-asked {
		t.Error("nobody leads")
	}
	if n := <-b.bells.rung; n != len(owed) {
		t.Errorf("rang for %d deliveries, want %d", n, len(owed))
	}
	b.answered(owed)
}

func deliveries(owed []webhook.Owed) []webhook.DeliveryID {
	ids := make([]webhook.DeliveryID, len(owed))
	for i, o := range owed {
		ids[i] = o.Delivery
	}
	return ids
}
