package accept_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/accept"
)

// To those who say that 100 webhooks want every event, 60 events are large, and 30
// are not.
const (
	largeCount = 60
	smallCount = 30
)

// watched signals when a large submission goes to PostgreSQL.
type watched struct {
	accept.Store
	entered chan webhook.TenantID
	running atomic.Int32
	most    atomic.Int32
}

func (*watched) Fanouts(_ context.Context, _ webhook.TenantID, types []webhook.EventType) (map[webhook.EventType]int, error) {
	return wantedByAll(types), nil
}

func wantedByAll(types []webhook.EventType) map[webhook.EventType]int {
	fanouts := map[webhook.EventType]int{}
	for _, typ := range types {
		fanouts[typ] = webhook.MaxWebhooksPerTenant
	}
	return fanouts
}

func (w *watched) AcceptLarge(ctx context.Context, s webhook.Submission) (webhook.Receipt, []webhook.Owed, error) {
	if n := w.running.Add(1); n > w.most.Load() {
		w.most.Store(n)
	}
	defer w.running.Add(-1)
	w.entered <- s.Events[0].Event.Tenant
	return w.Store.AcceptLarge(ctx, s)
}

type answer struct {
	events []webhook.AcceptedEvent
	err    error
}

// submit does not wait for the answer.
func (b *bundle) submit(ctx context.Context, events []webhook.NewEvent) <-chan answer {
	done := make(chan answer, 1)
	go func() {
		accepted, err := b.accepter.Accept(ctx, events)
		done <- answer{accepted, err}
	}()
	return done
}

func TestAccepter_largeHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	w := &watched{entered: make(chan webhook.TenantID, 10)}
	b := setup(t, func(s accept.Store) accept.Store { w.Store = s; return w })
	subscribe(t, b.db, "acme", 3)
	subscribe(t, b.db, "beta", 2)
	// Whoever holds a lane keeps a large submission from its end.
	tx, err := b.db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM lanes WHERE tenant_id = 'acme' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	first := b.submit(t.Context(), eventsOf(t, "acme", largeCount))
	if tenant := <-w.entered; tenant != "acme" {
		t.Fatalf("large submission of %s", tenant)
	}
	queued := newSignalling(t.Context(), 1)
	second := b.submit(queued, eventsOf(t, "beta", largeCount))
	queued.await(1)
	for range 5 { // more than there are committers
		if got := <-b.submit(t.Context(), eventsOf(t, "beta", 1)); got.err != nil || got.events[0].Deliveries != 2 {
			t.Errorf("another tenant's event while a large submission runs: %+v", got)
		}
	}
	if len(first) > 0 || len(second) > 0 {
		t.Error("a large submission was answered before it could be stored")
	}
	if n := b.count(t); n != 5 {
		t.Errorf("%d events can be seen, want none of a large submission that is not answered", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for tenant, done := range map[string]<-chan answer{"acme": first, "beta": second} {
		if got := <-done; got.err != nil || len(got.events) != largeCount {
			t.Errorf("%s: %d events, %v", tenant, len(got.events), got.err)
		}
	}
	if n := b.count(t); n != 5+2*largeCount {
		t.Errorf("stored %d events, want all", n)
	}
	if most := w.most.Load(); most != 1 {
		t.Errorf("%d large submissions ran at once, want 1", most)
	}
}

func TestAccepter_largeFails(t *testing.T) {
	t.Parallel()
	b := setup(t, func(s accept.Store) accept.Store { return failing{s} })
	got := <-b.submit(t.Context(), eventsOf(t, "acme", largeCount))
	if !errors.Is(got.err, webhook.ErrUnavailable) || b.count(t) != 0 || len(b.bell.owed) != 0 {
		t.Errorf("answer = %+v, want unavailable", got)
	}
}

type failing struct{ accept.Store }

func (failing) Fanouts(_ context.Context, _ webhook.TenantID, types []webhook.EventType) (map[webhook.EventType]int, error) {
	return wantedByAll(types), nil
}

func (failing) AcceptLarge(context.Context, webhook.Submission) (webhook.Receipt, []webhook.Owed, error) {
	return webhook.Receipt{}, nil, webhook.Unavailable(errors.New("away"))
}

// Three submissions that may owe 3,000 deliveries each are too much for one
// commit, until it is known that they owe none.
func TestAccepter_boundsGroupsByDeliveries(t *testing.T) {
	t.Parallel()
	g := &gate{entered: make(chan int, 10), pass: make(chan error)}
	b := setup(t, func(s accept.Store) accept.Store { g.Store = s; return g })
	hold := func() (held []<-chan answer) {
		for range 2 { // both committers
			held = append(held, b.submit(t.Context(), eventsOf(t, "other", 1)))
			<-g.entered
		}
		return held
	}
	for _, wantCommits := range []int{3, 1} {
		answers := hold()
		ctx := newSignalling(t.Context(), 3)
		for range 3 {
			answers = append(answers, b.submit(ctx, eventsOf(t, "acme", smallCount)))
		}
		ctx.await(3)
		g.pass <- nil // one committer goes on, the other one stays
		commits := 0
		for stored := 0; stored < 3; commits++ {
			stored += <-g.entered
			g.pass <- nil
		}
		g.pass <- nil
		for _, done := range answers {
			if got := <-done; got.err != nil {
				t.Error(got.err)
			}
		}
		if commits != wantCommits {
			t.Errorf("%d commits, want %d", commits, wantCommits)
		}
	}
}

// A tenant's burst of many events at once is in no group: it keeps the lanes of
// nobody else locked, and takes nobody else's committer.
func TestAccepter_manyEventsAreStoredApart(t *testing.T) {
	t.Parallel()
	w := &watched{entered: make(chan webhook.TenantID, 10)}
	b := setup(t, func(s accept.Store) accept.Store { w.Store = s; return w })
	subscribe(t, b.db, "acme", 1)
	subscribe(t, b.db, "beta", 1)
	for _, tenant := range []webhook.TenantID{"acme", "beta"} { // it is known then what they owe
		if got := <-b.submit(t.Context(), eventsOf(t, tenant, 1)); got.err != nil {
			t.Fatal(got.err)
		}
	}
	tx, err := b.db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM lanes WHERE tenant_id = 'acme' FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	const many, calls = 300, 3
	var burst []<-chan answer
	for range calls {
		burst = append(burst, b.submit(t.Context(), eventsOf(t, "acme", many)))
	}
	<-w.entered
	for range 5 {
		if got := <-b.submit(t.Context(), eventsOf(t, "beta", 1)); got.err != nil {
			t.Errorf("another tenant's event during a burst: %v", got.err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for _, done := range burst {
		if got := <-done; got.err != nil || len(got.events) != many {
			t.Errorf("%d events of the burst, %v", len(got.events), got.err)
		}
	}
	if n := b.count(t); n != 2+5+calls*many {
		t.Errorf("stored %d events, want all", n)
	}
}
