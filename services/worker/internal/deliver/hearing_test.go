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

// door is a gate that tells whether it is shut.
type door struct{ shut atomic.Bool }

func (d *door) Shut() { d.shut.Store(true) }
func (d *door) Open() { d.shut.Store(false) }

// cutOff is a store that is away, silently or not, until it is back.
type cutOff struct {
	slowCommit

	back   chan struct{} // closed when it is
	silent bool
	asked  atomic.Int64
}

func (s *cutOff) Claim(ctx context.Context, ids []webhook.DeliveryID, holder string) ([]webhook.Claim, error) {
	s.asked.Add(1)
	if s.silent {
		select {
		case <-s.back:
		case <-ctx.Done():
			return nil, webhook.Unavailable(ctx.Err())
		}
	}
	select {
	case <-s.back:
		return s.slowCommit.Claim(ctx, ids, holder)
	default:
		return nil, webhook.Unavailable(errors.New("connection refused"))
	}
}

func (s *cutOff) Record(context.Context, []webhook.Outcome, webhook.Room) (a webhook.Admission, _ error) {
	return a, nil
}

func TestEngine_leavesBellsToOthersWhilePostgreSQLDoesNotAnswerClaims(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		silent bool
		after  time.Duration // the first bell is told to others
	}{
		"it is silent": {true, claimPatience},
		"it refuses":   {false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { leavesBells(t, test.silent, test.after) })
		})
	}
}

func leavesBells(t *testing.T, silent bool, after time.Duration) {
	t.Helper()
	store := &cutOff{back: make(chan struct{}), silent: silent}
	doorbell, gate, receiver := bell{rung: make(chan []webhook.Owed, 10)}, &door{}, &accepting{}
	e, err := New(Config{
		Store: store, Sender: receiver, Doorbell: doorbell, Disabler: store, Gate: gate, Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Worker: "w", Slots: 4, Now: time.Now, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	ids := []webhook.DeliveryID{deliveryID(1), deliveryID(2), deliveryID(3), deliveryID(4)}
	ring := func(n int, own bool) (answer chan error) {
		answer = make(chan error, 1)
		go func() {
			_, err := e.Deliver(context.Background(), tasks.Bell{Deliveries: ids[n : n+1], Own: own})
			answer <- err
		}()
		synctest.Wait()
		return answer
	}
	start := time.Now()
	first := ring(0, false)
	if owed := <-doorbell.rung; owed[0].Delivery != ids[0] || time.Since(start) != after {
		t.Errorf("%v after %s, want the first one after %s", owed, time.Since(start), after)
	}
	synctest.Wait()
	if !gate.shut.Load() {
		t.Error("bells are still fetched")
	}
	for i, own := range []bool{false, true} { // they had been fetched before
		answer := ring(1+i, own)
		if owed := <-doorbell.rung; owed[0].Delivery != ids[1+i] {
			t.Errorf("rung for %v", owed)
		}
		if err := <-answer; errors.Is(err, webhook.ErrUnavailable) != own || !own && err != nil {
			t.Errorf("answered with %v, the delivery's own bell: %t", err, own)
		}
	}
	asked := store.asked.Load()
	<-time.After(time.Minute) // while its claim lasts, or is asked for again and again
	if more := store.asked.Load() - asked; more < 2 || more > int64(time.Minute/askEvery) {
		t.Errorf("asked %d times in a minute", more)
	}
	close(store.back)
	<-time.After(askEvery)
	synctest.Wait()
	if gate.shut.Load() {
		t.Error("bells are not fetched again")
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	if err := <-ring(3, false); err != nil || receiver.sent.Load() == 0 {
		t.Errorf("%d sent, %v, want the last one at least", receiver.sent.Load(), err)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}
