package deliver

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// stalled is a store that claims whatever it is asked for, and records nothing
// until it is let to.
type stalled struct {
	slowCommit

	records                  atomic.Bool
	claimed, recorded, heavy atomic.Int64
}

func (s *stalled) Claim(_ context.Context, ids []webhook.DeliveryID, _ string) (claims []webhook.Claim, _ error) {
	for _, id := range ids {
		c := claimOf(id)
		c.Body, c.Headers, c.Secrets = "body", []webhook.Header{{}}, []webhook.SigningSecret{{}}
		c.Lease, c.Tenant = time.Hour, "acme"
		claims = append(claims, c)
	}
	s.claimed.Add(int64(len(ids)))
	return claims, nil
}

func (s *stalled) Record(_ context.Context, outcomes []webhook.Outcome, _ webhook.Room) (a webhook.Admission, _ error) {
	for _, o := range outcomes {
		if o.Claim.Body != "" || o.Claim.Headers != nil || o.Claim.Secrets != nil {
			s.heavy.Add(1)
		}
	}
	if !s.records.Load() {
		return a, webhook.Unavailable(errors.New("canceling statement due to lock timeout"))
	}
	s.recorded.Add(int64(len(outcomes)))
	return a, nil
}

func TestEngine_whatWaitsToBeRecordedIsBoundedAndHasNoPayload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const slots, owed = 4, tasks.MaxBellSize
		store := &stalled{}
		e, err := New(Config{
			Store: store, Sender: &accepting{}, Doorbell: quiet{}, Disabler: store, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
			Registry: prometheus.NewRegistry(), Worker: "w", Slots: slots, Now: time.Now, Jitter: func() float64 { return 0 },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- e.Run(ctx) }()
		bell := tasks.Bell{Tenant: "acme"}
		for n := range owed {
			bell.Deliveries = append(bell.Deliveries, deliveryNumber(n))
		}
		delivered := make(chan error, 1)
		go func() {
			_, err := e.Deliver(ctx, bell)
			delivered <- err
		}()
		const most = slots * placesPerSlot * greed / (greed + 1) // what one party may have of them
		<-time.After(time.Second)                                // of the bubble's time
		if n := store.claimed.Load(); n != most {
			t.Errorf("%d are claimed while none can be recorded, want %d", n, most)
		}
		store.records.Store(true)
		if err := <-delivered; err != nil {
			t.Error(err)
		}
		for store.recorded.Load() < owed {
			<-time.After(time.Second)
		}
		if n := store.heavy.Load(); n != 0 {
			t.Errorf("%d outcomes kept what was sent", n)
		}
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if free := e.slots.places.free; free != slots*placesPerSlot || len(e.slots.places.held) != 0 {
			t.Errorf("%d places are free in the end, %v held", free, e.slots.places.held)
		}
	})
}
