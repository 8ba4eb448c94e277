package accept_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/accept"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("database/sql.(*DB).connectionOpener"))
}

// bell remembers what it was rung for.
type bell struct {
	mu   sync.Mutex
	owed []webhook.Owed
}

func (b *bell) RingFirst(owed []webhook.Owed) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.owed = append(b.owed, owed...)
}

// gate is a store whose commits wait until they are let through.
type gate struct {
	accept.Store
	entered chan int // submissions of a commit that has begun
	pass    chan error
}

func (g *gate) Accept(ctx context.Context, batch []webhook.Submission) ([]webhook.Receipt, []webhook.Owed, error) {
	g.entered <- len(batch)
	if err := <-g.pass; err != nil {
		return nil, nil, err
	}
	return g.Store.Accept(ctx, batch)
}

// signalling is a context that tells how many calls wait for its end: Accept
// does so once a submission is in the queue.
type signalling struct {
	context.Context //nolint:containedctx // it is a context
	waiting         chan struct{}
}

func newSignalling(ctx context.Context, most int) signalling {
	return signalling{ctx, make(chan struct{}, most)}
}

func (s signalling) Done() <-chan struct{} {
	s.waiting <- struct{}{}
	return s.Context.Done()
}

func (s signalling) await(n int) {
	for range n {
		<-s.waiting
	}
}

type bundle struct {
	db       *sqlx.DB
	bell     *bell
	accepter *accept.Accepter
}

// setup runs an accepter over a real PostgreSQL; wrap may stand between them.
func setup(t testing.TB, wrap func(accept.Store) accept.Store) *bundle {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: postgrestest.New(t), HotPath: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{db: db, bell: &bell{}}
	var store accept.Store = postgres.NewEvents(db, 10)
	if wrap != nil {
		store = wrap(store)
	}
	b.accepter = accept.New(accept.Config{Store: store, Doorbell: b.bell, Registry: prometheus.NewRegistry(), Now: time.Now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.accepter.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	return b
}

func event(t testing.TB, n int, key string) webhook.NewEvent {
	t.Helper()
	return eventOf(t, "acme", n, key)
}

func eventsOf(t testing.TB, tenant webhook.TenantID, n int) []webhook.NewEvent {
	t.Helper()
	events := make([]webhook.NewEvent, n)
	for i := range events {
		events[i] = eventOf(t, tenant, i, "")
	}
	return events
}

func eventOf(t testing.TB, tenant webhook.TenantID, n int, key string) webhook.NewEvent {
	t.Helper()
	typ, err := webhook.ParseEventType("invoice.paid")
	if err != nil {
		t.Fatal(err)
	}
	return webhook.NewEvent{
		Tenant: tenant, Type: typ, ObjectType: "invoice", ObjectID: fmt.Sprint(n),
		Object: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)), IdempotencyKey: key,
	}
}

func (b *bundle) count(t *testing.T) (n int) {
	t.Helper()
	if err := b.db.GetContext(context.Background(), &n, `SELECT count(*) FROM events`); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestI1_answeredEventsAreCommitted(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var wg sync.WaitGroup
	ids := make(chan webhook.EventID, 200)
	for i := range 200 {
		wg.Go(func() {
			got, err := b.accepter.Accept(context.Background(), []webhook.NewEvent{event(t, i, "")})
			if err != nil {
				t.Error(err)
				return
			}
			ids <- got[0].ID
		})
	}
	wg.Wait()
	close(ids)
	for id := range ids {
		var body string
		if err := b.db.GetContext(t.Context(), &body, `SELECT body FROM events WHERE id = $1`, id.UUID()); err != nil {
			t.Errorf("event %s was answered but is not stored: %v", id, err)
		}
	}
}

func TestAccepter_commitsTogetherWhatArrivedDuringACommit(t *testing.T) {
	t.Parallel()
	g := &gate{entered: make(chan int, 10), pass: make(chan error)}
	b := setup(t, func(s accept.Store) accept.Store { g.Store = s; return g })
	var wg sync.WaitGroup
	ctx := newSignalling(context.Background(), 52)
	send := func(n int) {
		for i := range n {
			wg.Go(func() {
				if _, err := b.accepter.Accept(ctx, []webhook.NewEvent{event(t, i, "")}); err != nil {
					t.Error(err)
				}
			})
		}
	}
	// Both committers are held up by one event each; 50 more pile up meanwhile.
	send(1)
	<-g.entered
	send(1)
	<-g.entered
	send(50)
	total := 2
	ctx.await(52)
	g.pass <- nil
	g.pass <- nil
	commits := 0
	for total < 52 {
		total += <-g.entered
		commits++
		g.pass <- nil
	}
	wg.Wait()
	if commits > 2 {
		t.Errorf("50 waiting events took %d commits, want at most 2", commits)
	}
	if n := b.count(t); n != 52 {
		t.Errorf("stored %d events, want 52", n)
	}
}

func TestAccepter_sameKeyAtOnceIsOneEvent(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	var wg sync.WaitGroup
	answers := make(chan webhook.AcceptedEvent, 40)
	for range 40 {
		wg.Go(func() {
			got, err := b.accepter.Accept(context.Background(), []webhook.NewEvent{event(t, 1, "k")})
			if err != nil {
				t.Error(err)
				return
			}
			answers <- got[0]
		})
	}
	wg.Wait()
	close(answers)
	ids, firsts := map[webhook.EventID]bool{}, 0
	for a := range answers {
		ids[a.ID] = true
		if !a.Duplicate {
			firsts++
		}
	}
	if len(ids) != 1 || firsts != 1 {
		t.Errorf("one key gave %d events, %d of them as the first, want 1 and 1", len(ids), firsts)
	}
	if n := b.count(t); n != 1 {
		t.Errorf("stored %d events, want 1", n)
	}
}

func TestAccepter_allOrNone(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	if _, err := b.accepter.Accept(t.Context(), []webhook.NewEvent{event(t, 1, "k")}); err != nil {
		t.Fatal(err)
	}
	_, err := b.accepter.Accept(t.Context(), []webhook.NewEvent{event(t, 7, ""), event(t, 2, "k"), event(t, 8, "other")})
	faults := webhook.Faults(err)
	if len(faults) != 1 || faults[0].Kind != webhook.KindConflict {
		t.Fatalf("err = %v, want one conflict", err)
	}
	if diff := cmp.Diff([]string{"1", "idempotencyKey"}, faults[0].Field); diff != "" {
		t.Error(diff)
	}
	if n := b.count(t); n != 1 {
		t.Errorf("stored %d events, want 1: nothing of a refused call", n)
	}
	got, err := b.accepter.Accept(t.Context(), []webhook.NewEvent{event(t, 8, "other")})
	if err != nil || got[0].Duplicate {
		t.Errorf("a refused call kept its key: %+v, %v", got, err)
	}
}

func TestAccepter_oneKeyTwiceInOneCall(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	_, err := b.accepter.Accept(t.Context(), []webhook.NewEvent{event(t, 1, "k"), event(t, 1, "k")})
	if faults := webhook.Faults(err); len(faults) != 1 || faults[0].Kind != webhook.KindInvalid {
		t.Errorf("err = %v, want one fault", err)
	}
	if n := b.count(t); n != 0 {
		t.Errorf("stored %d events, want 0", n)
	}
}

func TestAccepter_failedCommitIsUnavailableAndRingsNobody(t *testing.T) {
	t.Parallel()
	g := &gate{entered: make(chan int, 10), pass: make(chan error, 1)}
	b := setup(t, func(s accept.Store) accept.Store { g.Store = s; return g })
	g.pass <- webhook.Unavailable(errors.New("away"))
	_, err := b.accepter.Accept(t.Context(), []webhook.NewEvent{event(t, 1, "")})
	if !errors.Is(err, webhook.ErrUnavailable) {
		t.Errorf("err = %v, want unavailable", err)
	}
	if len(b.bell.owed) != 0 || b.count(t) != 0 {
		t.Error("a failed commit rang or stored")
	}
}

func TestAccepter_callerWhoLeftIsNotStored(t *testing.T) {
	t.Parallel()
	g := &gate{entered: make(chan int, 10), pass: make(chan error)}
	b := setup(t, func(s accept.Store) accept.Store { g.Store = s; return g })
	var wg sync.WaitGroup
	for i := range 2 { // keep both committers busy
		wg.Go(func() { _, _ = b.accepter.Accept(context.Background(), []webhook.NewEvent{event(t, i, "")}) })
		<-g.entered
	}
	cancelable, cancel := context.WithCancel(t.Context())
	ctx := newSignalling(cancelable, 1)
	left := make(chan error, 1)
	go func() {
		_, err := b.accepter.Accept(ctx, []webhook.NewEvent{event(t, 3, "")})
		left <- err
	}()
	ctx.await(1)
	cancel()
	if err := <-left; !errors.Is(err, webhook.ErrUnavailable) {
		t.Errorf("err = %v, want unavailable", err)
	}
	g.pass <- nil
	g.pass <- nil
	wg.Wait()
	if n := b.count(t); n != 2 {
		t.Errorf("stored %d events, want 2", n)
	}
}
