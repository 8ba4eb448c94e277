package deliver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// stuck is a store whose first record fails and whose others take until they are
// let through.
type stuck struct {
	slowCommit

	mu       sync.Mutex
	failed   bool
	recorded int
	extended map[webhook.DeliveryID]int
}

func (s *stuck) Record(_ context.Context, outcomes []webhook.Outcome, _ webhook.Room) (a webhook.Admission, _ error) {
	s.mu.Lock()
	first := !s.failed
	s.failed = true
	s.mu.Unlock()
	if first {
		return a, webhook.Unavailable(errors.New("canceling statement due to lock timeout"))
	}
	<-s.proceed
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recorded += len(outcomes)
	return a, nil
}

func (s *stuck) Extend(_ context.Context, claims []webhook.Claim) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range claims {
		s.extended[c.Delivery]++
	}
	return nil
}

func TestI3_whoeverWaitsToBeRecordedKeepsItsLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &stuck{slowCommit: slowCommit{proceed: make(chan struct{})}, extended: map[webhook.DeliveryID]int{}}
		e, err := New(Config{
			Store: store, Sender: &accepting{}, Doorbell: quiet{}, Disabler: store, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
			Registry: prometheus.NewRegistry(), Worker: "w", Slots: 4, Now: time.Now, Jitter: func() float64 { return 0 },
		})
		if err != nil {
			t.Fatal(err)
		}
		const hooks, each = 2 * retriers, 3
		var outcomes []settled
		for hook := range hooks {
			for n := range each {
				c := claimOf(deliveryNumber(each*hook + n))
				c.Webhook = webhook.NewWebhookID(time.Now(), [10]byte{9: byte(hook)})
				outcomes = append(outcomes, settled{Outcome: webhook.Outcome{Claim: c}})
			}
		}
		e.unsettled.Add(hooks * each)
		r := newRecorder(e)
		r.write(t.Context(), outcomes[:len(outcomes)-1])
		late := outcomes[len(outcomes)-1:]
		if rest := r.join(append([]settled{}, late...)); len(rest) != 0 {
			t.Error("an outcome overtakes the others of its webhook")
		}
		<-time.After(10 * keepEvery) // of the bubble's time
		store.mu.Lock()
		kept := 0
		for i, s := range outcomes {
			switch n := store.extended[s.Claim.Delivery]; {
			case n >= 10:
				kept++
			case n == 0 && i < len(outcomes)-1: // the late one's line may have had its turn
				t.Error("a lease was not extended")
			}
		}
		if want := (hooks - retriers) * each; kept != want {
			t.Errorf("%d leases were extended all the time, want those of the %d outcomes that wait", kept, want)
		}
		store.mu.Unlock()
		close(store.proceed)
		e.unsettled.Wait()
		if store.recorded != len(outcomes) || len(r.lines) != 0 {
			t.Errorf("%d of %d outcomes are recorded, %d lines left", store.recorded, len(outcomes), len(r.lines))
		}
	})
}
