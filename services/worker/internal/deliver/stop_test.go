package deliver

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// silent is a store that answers nothing until it is let to: neither claims nor
// records.
type silent struct {
	slowCommit

	claiming, answers chan struct{}
	timeout           time.Duration
	unclaimed         bool
	released          atomic.Int64
}

func (s *silent) Claim(_ context.Context, ids []webhook.DeliveryID, _ string) (claims []webhook.Claim, _ error) {
	if s.claiming != nil {
		<-s.claiming
	}
	for _, id := range ids {
		c := claimOf(id)
		c.Policy.Timeout, c.Lease = s.timeout, time.Hour
		claims = append(claims, c)
	}
	if s.unclaimed {
		return nil, nil
	}
	return claims, nil
}

func (s *silent) Record(context.Context, []webhook.Outcome, webhook.Room) (a webhook.Admission, _ error) {
	if s.answers != nil {
		<-s.answers
	}
	return a, nil
}

func (s *silent) Release(_ context.Context, claims []webhook.Claim) error {
	s.released.Add(int64(len(claims)))
	return nil
}

// stopping is an engine that is told to stop while it is at work on bells.
type stopping struct {
	*Engine

	t        *testing.T
	receiver accepting
	bell     bell
	ran      chan error
	answers  []chan error // to each of the bells
	stopped  time.Time
}

// stopAmid rings for one delivery after the other, a moment of the bubble's time
// apart, and then tells the engine to stop.
func stopAmid(t *testing.T, store *silent, own bool, deliveries ...webhook.DeliveryID) *stopping {
	t.Helper()
	s := &stopping{t: t, ran: make(chan error, 1), bell: bell{rung: make(chan []webhook.Owed, 10)}}
	e, err := New(Config{
		Store: store, Sender: &s.receiver, Doorbell: s.bell, Disabler: store, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Worker: "w", Slots: 4, Now: time.Now, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Engine = e
	ctx, stop := context.WithCancel(t.Context())
	go func() { s.ran <- e.Run(ctx) }()
	for _, id := range deliveries {
		answer := make(chan error, 1)
		s.answers = append(s.answers, answer)
		go func() {
			_, err := e.Deliver(context.Background(), tasks.Bell{Deliveries: []webhook.DeliveryID{id}, Own: own})
			answer <- err
		}()
		<-time.After(claimPatience / 4)
	}
	stop()
	s.stopped = time.Now()
	return s
}

// rings checks that others are rung for a delivery, at this time of the bubble.
func (s *stopping) rings(id webhook.DeliveryID) {
	s.t.Helper()
	synctest.Wait()
	select {
	case owed := <-s.bell.rung:
		if len(owed) != 1 || owed[0].Delivery != id {
			s.t.Errorf("rung for %v, want %s", owed, id)
		}
	default:
		s.t.Error("nobody is rung for")
	}
}

// ends checks how long after the stop Run returns.
func (s *stopping) ends(after time.Duration) error {
	s.t.Helper()
	err := <-s.ran
	if took := time.Since(s.stopped); took < after || took > after+10*linger { // a batch may wait for company
		s.t.Errorf("Run returned %s after the stop, want %s", took, after)
	}
	return err
}

func TestI9_aStopEndsThoughPostgreSQLDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := &silent{answers: make(chan struct{}), timeout: time.Second}
		s := stopAmid(t, store, false, deliveryID(1))
		if err := s.ends(stopLimit); err == nil || !strings.HasPrefix(err.Error(), "1 deliveries neither recorded nor released") {
			t.Errorf("Run = %v, want how many are left", err)
		}
		if err := <-s.answers[0]; !errors.Is(err, tasks.ErrStopping) {
			t.Errorf("the bell is answered with %v, want it to be rung for others", err)
		}
		close(store.answers) // lets what was given up end
	})
}

func TestI9_whatIsClaimedAfterTheStopIsSentIfItEndsInTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout        time.Duration
		sent, released int64
	}{
		"the longest timeout": {webhook.MaxTimeout, 0, 1},
		"an ordinary timeout": {5 * time.Second, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &silent{claiming: make(chan struct{}), timeout: c.timeout}
				s := stopAmid(t, store, false, deliveryID(1))
				<-time.After(10 * time.Second)
				close(store.claiming)
				if err := s.ends(10 * time.Second); err != nil {
					t.Error(err)
				}
				if sent, released := s.receiver.sent.Load(), store.released.Load(); sent != c.sent || released != c.released {
					t.Errorf("%d sent and %d released, want %d and %d", sent, released, c.sent, c.released)
				}
				if err := <-s.answers[0]; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestI9_aTimerThatIsNotAdmittedBeforeTheStopIsTurnedAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		id := deliveryID(1)
		store := &silent{claiming: make(chan struct{}), unclaimed: true}
		s := stopAmid(t, store, true, id)
		<-time.After(time.Second)
		close(store.claiming)
		s.rings(id)
		if err := s.ends(time.Second); err != nil {
			t.Error(err)
		}
		if err := <-s.answers[0]; !errors.Is(err, tasks.ErrStopping) {
			t.Errorf("the bell is answered with %v, want it to be rung for others", err)
		}
	})
}

func TestI9_othersAreRungAtOnceForWhatWaitsOrComesThoughAClaimIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		waiting, late := deliveryID(2), deliveryID(3)
		store := &silent{claiming: make(chan struct{}), timeout: time.Second}
		s := stopAmid(t, store, false, deliveryID(1), waiting)
		s.rings(waiting)
		if err := <-s.answers[1]; err != nil || !time.Now().Equal(s.stopped) {
			t.Errorf("its bell is answered with %v after %s, want it done at once", err, time.Since(s.stopped))
		}
		for _, own := range []bool{false, true} {
			_, err := s.Deliver(t.Context(), tasks.Bell{Deliveries: []webhook.DeliveryID{late}, Own: own})
			s.rings(late)
			if own != errors.Is(err, tasks.ErrStopping) || !own && err != nil {
				t.Errorf("a bell that comes too late is answered with %v, its delivery's own: %t", err, own)
			}
		}
		<-time.After(2 * time.Second)
		close(store.claiming)
		if err := s.ends(2 * time.Second); err != nil {
			t.Error(err)
		}
		if err := <-s.answers[0]; err != nil {
			t.Error(err)
		}
	})
}
