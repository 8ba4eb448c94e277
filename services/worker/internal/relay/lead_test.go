package relay_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/relay"
)

// seat is the lead, and remembers who got it.
type seat struct {
	mu     sync.Mutex
	holder string
	got    []string
}

func (s *seat) lead(who string) relay.Lead {
	return func(context.Context) (relay.Leadership, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.holder != "" {
			return nil, nil //nolint:nilnil // another one leads
		}
		s.holder = who
		s.got = append(s.got, who)
		return sitting{s}, nil
	}
}

func (s *seat) is() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.holder
}

type sitting struct{ seat *seat }

func (sitting) Still(context.Context) error { return nil }

func (l sitting) Resign(context.Context) error {
	l.seat.mu.Lock()
	defer l.seat.mu.Unlock()
	l.seat.holder = ""
	return nil
}

// way is a worker's way to Redis.
type way struct{ state atomic.Int32 }

const (
	open int32 = iota
	refusing
	swallowing
)

func (w *way) Check(ctx context.Context) (lost bool, err error) { return false, w.Plant(ctx) }

func (w *way) Plant(ctx context.Context) error {
	switch w.state.Load() {
	case refusing:
		return errShut
	case swallowing:
		<-ctx.Done()
		return ctx.Err()
	default:
		return nil
	}
}

// ledger is a store in which nothing is to be done. It tells of every look at
// everything that is unclaimed.
type ledger struct {
	gossip

	looks atomic.Int64
}

func (l *ledger) Unclaimed(_ context.Context, _ time.Duration, patiently bool, _ int) ([]webhook.Owed, error) {
	if !patiently {
		l.looks.Add(1)
	}
	return nil, nil
}

// worker is a candidate for the lead.
type worker struct {
	way
	ledger

	name string
}

// elect runs a relay in each of the workers until the test ends. The first one leads.
func elect(t *testing.T, workers ...*worker) *seat {
	t.Helper()
	s := &seat{}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(cancel)
	for _, w := range workers {
		r := relay.New(relay.Config{
			Store: &w.ledger, Doorbell: &bells{}, Canary: &w.way, Sweeper: &w.way, Lead: s.lead(w.name),
			Window: window, Log: quiet(), Registry: prometheus.NewRegistry(),
		})
		running.Go(func() { _ = r.Run(ctx) })
		after(10 * time.Millisecond) // so that they do not all look at the same time
	}
	after(2 * time.Second)
	return s
}

func (w *way) Sweep(ctx context.Context) (int, error) { return 0, w.Plant(ctx) }

// after lets time pass, that of a bubble.
func after(d time.Duration) { <-time.After(d) }

// awaitLead returns how long it took until somebody had the lead.
func (s *seat) awaitLead(t *testing.T, who string, limit time.Duration) time.Duration {
	t.Helper()
	started := time.Now()
	for s.is() != who {
		if time.Since(started) > limit {
			t.Fatalf("after %s %q leads, want %q", limit, s.is(), who)
		}
		after(10 * time.Millisecond)
	}
	return time.Since(started)
}

func TestRelay_aLeaderThatIsCutOffFromRedisLeavesItToAnother(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]int32{"connections are refused": refusing, "packets are swallowed": swallowing} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := &worker{name: "a"}, &worker{name: "b"}
				s := elect(t, a, b)
				a.state.Store(cut)
				if took := s.awaitLead(t, "b", 9*time.Second); took < 4*time.Second {
					t.Errorf("the lead was given up after %s", took)
				}
				a.state.Store(open)
				after(time.Minute)
				if s.is() != "b" || len(s.got) != 2 {
					t.Errorf("%q leads, the lead went to %v; want b to keep it", s.is(), s.got)
				}
			})
		})
	}
}

func TestRelay_aRestartOfRedisCostsNobodyTheLead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := &worker{name: "a"}, &worker{name: "b"}
		s := elect(t, a, b)
		for range 10 { // times that have nothing to do with each other
			a.state.Store(refusing)
			b.state.Store(refusing)
			after(3 * time.Second)
			a.state.Store(open)
			b.state.Store(open)
			after(3 * time.Second)
		}
		if s.is() != "a" || len(s.got) != 1 {
			t.Errorf("%q leads, the lead went to %v; want a to keep it", s.is(), s.got)
		}
	})
}

func TestRelay_whereNobodyReachesRedisTheFirstToReachItLeadsAndRingsForAll(t *testing.T) {
	t.Parallel()
	for name, cut := range map[string]int32{"connections are refused": refusing, "packets are swallowed": swallowing} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a, b := &worker{name: "a"}, &worker{name: "b"}
				s := elect(t, a, b)
				a.state.Store(cut)
				b.state.Store(cut)
				after(30 * time.Second)
				if s.is() != "" || len(s.got) != 1 {
					t.Errorf("%q leads, the lead went to %v, but nobody can ring", s.is(), s.got)
				}
				looks := b.looks.Load()
				b.state.Store(open)
				s.awaitLead(t, "b", 3*time.Second)
				synctest.Wait()
				if b.looks.Load() == looks {
					t.Error("it does not ring at once for what nobody rang for")
				}
			})
		})
	}
}

func TestRelay_aWorkerWithTheWrongRedisNeverLeads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := &worker{name: "a"}, &worker{name: "b"}
		a.state.Store(swallowing)
		s := elect(t, a, b)
		if s.is() != "b" || len(s.got) != 1 {
			t.Errorf("%q leads, the lead went to %v; want b from the start", s.is(), s.got)
		}
	})
}

// The relay is cut off from Redis, the other workers are not, and one of them has
// died: its leases end.
func TestI2_theLeasesOfADeadWorkerAreRungForWhenTheRelayIsCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.leads = func(ctx context.Context) (relay.Leadership, error) { return lead(ctx, b) }
	b.background(b.relay.Run)
	b.gauge("hooks_relay_leader", 1)
	other, bells := b.relayOver(b.server, prometheus.NewRegistry())
	b.background(other.Run)
	owed := b.accept(1)
	claims, err := b.work.Claim(t.Context(), deliveries(owed), "a worker that dies")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	b.path.shut.Store(true)
	b.exec(`UPDATE pending_deliveries SET lease_until = now()`)
	select {
	case n := <-bells.rung:
		if n != 1 {
			t.Errorf("rung for %d, want 1", n)
		}
	case <-time.After(patience):
		t.Fatal("nobody rings for what a dead worker had")
	}
	b.gauge("hooks_relay_leader", 0)
	b.answered(owed)
}

func lead(ctx context.Context, b *bundle) (relay.Leadership, error) {
	leader, err := postgres.Lead(ctx, b.db, postgres.RelayLock)
	if leader == nil {
		return nil, err
	}
	return leader, err
}
