package deliver

import (
	"context"
	"errors"
	"log/slog"
	"slices"
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
		after  time.Duration // others are rung for what waits
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
	for i, own := range []bool{false, true} { // what waits, and what had been fetched already
		answer := ring(1+i, own)
		if owed := <-doorbell.rung; owed[0].Delivery != ids[1+i] || time.Since(start) != after {
			t.Errorf("%v after %s, want %s after %s", owed, time.Since(start), ids[1+i], after)
		}
		if err := <-answer; errors.Is(err, webhook.ErrUnavailable) != own || !own && err != nil {
			t.Errorf("answered with %v, the delivery's own bell: %t", err, own)
		}
	}
	if !gate.shut.Load() {
		t.Error("bells are still fetched")
	}
	if err := <-first; !errors.Is(err, webhook.ErrUnavailable) { // it may be at fault itself
		t.Errorf("what could not be claimed is answered with %v", err)
	}
	asked := store.asked.Load()
	<-time.After(time.Minute)
	if more := store.asked.Load() - asked; more < 2 || more > int64(time.Minute/askEvery) {
		t.Errorf("asked %d times in a minute", more)
	}
	close(store.back)
	<-time.After(askEvery)
	synctest.Wait()
	if gate.shut.Load() {
		t.Error("bells are not fetched again")
	}
	if err := <-ring(3, false); err != nil || receiver.sent.Load() != 1 {
		t.Errorf("%d sent, %v, want the last one", receiver.sent.Load(), err)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// poisoned is a store that cannot claim one delivery, and can claim all others.
type poisoned struct {
	slowCommit

	by     webhook.DeliveryID
	failed atomic.Int64
}

func (s *poisoned) Claim(ctx context.Context, ids []webhook.DeliveryID, holder string) ([]webhook.Claim, error) {
	if slices.Contains(ids, s.by) {
		s.failed.Add(1)
		return nil, webhook.Unavailable(errors.New("could not read block 5"))
	}
	return s.slowCommit.Claim(ctx, ids, holder)
}

func (s *poisoned) Record(context.Context, []webhook.Outcome, webhook.Room) (a webhook.Admission, _ error) {
	return a, nil
}

// Where it is a delivery that makes claims fail, and not the server, nobody is rung
// for it at once, and the others are delivered.
func TestEngine_whatCannotBeClaimedKeepsNobodyBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		bad, good := deliveryID(1), deliveryID(2)
		store, doorbell := &poisoned{by: bad}, bell{rung: make(chan []webhook.Owed, 10)}
		e := run(t, store, doorbell)
		if _, err := e.Deliver(t.Context(), tasks.Bell{Deliveries: []webhook.DeliveryID{bad}}); !errors.Is(err, webhook.ErrUnavailable) {
			t.Errorf("answered with %v, want to be tried again later", err)
		}
		<-time.After(2 * askEvery)
		if _, err := e.Deliver(t.Context(), tasks.Bell{Deliveries: []webhook.DeliveryID{good}}); err != nil {
			t.Error(err)
		}
		<-time.After(time.Minute)
		if n := store.failed.Load(); n != 1 || len(doorbell.rung) > 0 {
			t.Errorf("claimed %d times, rung for %d times", n, len(doorbell.rung))
		}
	})
}
