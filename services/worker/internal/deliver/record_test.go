package deliver

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// forgetful is a store that commits what it is asked for and loses its answers,
// as long as it is told to.
type forgetful struct {
	slowCommit

	mu       sync.Mutex
	losing   int // answers
	holders  []string
	released []webhook.Doubt
	owed     []webhook.Owed
}

func (s *forgetful) loses() error {
	if s.losing--; s.losing >= 0 {
		return webhook.Unavailable(errors.New("connection reset"))
	}
	return nil
}

func (s *forgetful) Claim(ctx context.Context, ids []webhook.DeliveryID, holder string) ([]webhook.Claim, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders = append(s.holders, holder)
	if err := s.loses(); err != nil {
		return nil, err
	}
	return s.slowCommit.Claim(ctx, ids, holder)
}

func (s *forgetful) Record(_ context.Context, _ []webhook.Outcome, room webhook.Room) (a webhook.Admission, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders = append(s.holders, room.Holder)
	return a, s.loses()
}

func (s *forgetful) ReleaseHeld(_ context.Context, d webhook.Doubt) ([]webhook.Owed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = append(s.released, d)
	return s.owed, nil
}

// bell hands on what is rung for.
type bell struct {
	quiet
	rung chan []webhook.Owed
}

func (b bell) RingIn(_ tasks.Queue, owed []webhook.Owed) { b.Ring(owed) }

func (b bell) Ring(owed []webhook.Owed) {
	if len(owed) > 0 {
		b.rung <- owed
	}
}

func run(t *testing.T, store interface {
	Store
	Disabler
}, doorbell Doorbell) *Engine {
	t.Helper()
	e, err := New(Config{
		Store: store, Sender: &accepting{}, Doorbell: doorbell, Disabler: store, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Worker: "w", Slots: 4, Now: time.Now, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	})
	return e
}

func deliveryID(n byte) webhook.DeliveryID {
	at := time.Now()
	return webhook.DeliveryIDFor(webhook.NewEventID(at, [10]byte{n}), webhook.NewWebhookID(at, [10]byte{n}))
}

func TestI3_leasesThatALostAnswerMayHaveTakenAreReleasedAndRungFor(t *testing.T) {
	t.Parallel()
	id, next := deliveryID(1), webhook.Owed{Delivery: deliveryID(2)}
	for name, test := range map[string]struct {
		answered int // claims that are answered before answers get lost
		about    func(webhook.Doubt) bool
	}{
		"of a claim":  {0, func(d webhook.Doubt) bool { return slices.Equal(d.Deliveries, []webhook.DeliveryID{id}) }},
		"of a record": {1, func(d webhook.Doubt) bool { return len(d.Webhooks) == 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, doorbell := &forgetful{owed: []webhook.Owed{next}}, bell{rung: make(chan []webhook.Owed, 2)}
			if test.answered == 0 {
				store.losing = 1
			}
			e := run(t, losingAfter{store, test.answered}, doorbell)
			_, err := e.Deliver(t.Context(), tasks.Bell{Deliveries: []webhook.DeliveryID{id}})
			if wantErr := test.answered == 0; (err != nil) != wantErr {
				t.Errorf("Deliver = %v, want an error: %t", err, wantErr)
			}
			if rung := <-doorbell.rung; len(rung) != 1 || rung[0].Delivery != next.Delivery {
				t.Errorf("rung for %v, want what was released", rung)
			}
			store.mu.Lock()
			defer store.mu.Unlock()
			doubt := store.released[0]
			if want := store.holders[test.answered : test.answered+1]; !slices.Equal(doubt.Holders, want) || !test.about(doubt) {
				t.Errorf("released %+v, want the leases of %v", doubt, want)
			}
		})
	}
}

// losingAfter loses the answer that comes after so many claims.
type losingAfter struct {
	*forgetful
	claims int
}

func (s losingAfter) Claim(ctx context.Context, ids []webhook.DeliveryID, holder string) ([]webhook.Claim, error) {
	claims, err := s.forgetful.Claim(ctx, ids, holder)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.claims > 0 {
		s.losing = 1
	}
	return claims, err
}

func TestEngine_keepsOutcomesWhilePostgresIsAwayLongerThanTheirLeases(t *testing.T) {
	t.Parallel()
	e := run(t, &forgetful{}, quiet{})
	claim := claimOf(deliveryID(1))
	old := func(beyond time.Duration) []settled {
		claim.ClaimedAt = time.Now().Add(-claim.Lease - beyond)
		return []settled{{Outcome: webhook.Outcome{Claim: claim}}}
	}
	if e.hopeless(old(patience / 2)) {
		t.Error("an outcome is given up although nobody else can take the delivery")
	}
	if !e.hopeless(old(2 * patience)) {
		t.Error("an outcome is kept for ever")
	}
}

// refusing is a store that answers no record until it is let to.
type refusing struct {
	slowCommit

	mu       sync.Mutex
	open     bool
	refused  []string // holders
	released chan webhook.Doubt
}

func (s *refusing) Record(_ context.Context, _ []webhook.Outcome, room webhook.Room) (a webhook.Admission, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		s.refused = append(s.refused, room.Holder)
		return a, webhook.Unavailable(errors.New("canceling statement due to lock timeout"))
	}
	return a, nil
}

func (s *refusing) ReleaseHeld(_ context.Context, d webhook.Doubt) (owed []webhook.Owed, _ error) {
	s.released <- d
	return owed, nil
}

// Two statements may each have outcomes of one webhook: those of a busy party are
// recorded beside the others. Both may have leased its deliveries.
func TestI3_noHolderInDoubtIsForgotten(t *testing.T) {
	t.Parallel()
	store := &refusing{released: make(chan webhook.Doubt, 1)}
	e, err := New(Config{
		Store: store, Sender: &accepting{}, Doorbell: quiet{}, Disabler: store, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Worker: "w", Slots: 4, Now: time.Now, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	const statements = 8
	r := newRecorder(e)
	e.unsettled.Add(statements)
	var failed sync.WaitGroup
	for n := range statements {
		failed.Go(func() {
			r.write(t.Context(), []settled{{Outcome: webhook.Outcome{Claim: claimOf(deliveryID(byte(n)))}}})
		})
	}
	failed.Wait()
	store.mu.Lock()
	store.open = true
	store.mu.Unlock()
	e.unsettled.Wait()
	doubt := <-store.released
	slices.Sort(doubt.Holders)
	slices.Sort(store.refused)
	if !slices.Equal(doubt.Holders, store.refused) || len(store.refused) < statements {
		t.Errorf("in doubt are %v, want %v", doubt.Holders, store.refused)
	}
}
