package app_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/app"
)

const tenant = webhook.TenantID("acme")

// bundle is a system without its api: stores, a doorbell, a receiver.
type bundle struct {
	t        testing.TB
	config   env.Worker
	db       *sqlx.DB
	redis    redis.UniversalClient
	hooks    *postgres.Webhooks
	events   *postgres.Events
	doorbell *tasks.Doorbell
	receiver *receiver
}

func setup(t testing.TB) *bundle {
	t.Helper()
	var key [32]byte
	_, _ = rand.Read(key[:])
	config, err := env.LoadWorker([]string{
		"DATABASE_URL=" + postgrestest.New(t), "REDIS_URL=" + redistest.New(t),
		"HOOKS_ENCRYPTION_KEYS=" + base64.StdEncoding.EncodeToString(key[:]),
		"HOOKS_ALLOWED_NETWORKS=127.0.0.0/8", "HOOKS_METRICS_ADDR=127.0.0.1:0", "HOOKS_ENDPOINT_CONCURRENCY=3",
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{t: t, config: config, receiver: newReceiver(t)}
	if b.db, err = postgres.Open(postgres.Config{URL: config.URL.Reveal()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.db.Close() })
	if b.redis, err = tasks.Connect(config.RedisURL.Reveal()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.redis.Close() })
	b.hooks = postgres.NewWebhooks(b.db, config.Keys)
	b.events = postgres.NewEvents(b.db, config.EndpointConcurrency)
	b.doorbell = tasks.NewDoorbell(tasks.NewRinger(b.redis), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	b.background(b.doorbell.Run)
	return b
}

// background runs a component until the test or the returned stop ends it.
func (b *bundle) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
	b.t.Cleanup(stop)
	return stop
}

// worker starts one and returns how to stop it.
func (b *bundle) worker() (stop func()) {
	b.t.Helper()
	w, err := app.New(b.t.Context(), b.config, slog.New(slog.NewTextHandler(testLog{b.t}, &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		b.t.Fatal(err)
	}
	return b.background(w.Run)
}

type testLog struct{ t testing.TB }

func (l testLog) Write(p []byte) (int, error) { l.t.Logf("worker: %s", p); return len(p), nil }

func (b *bundle) webhook(change func(*webhook.Webhook)) webhook.WebhookID {
	b.t.Helper()
	var random [10]byte
	_, _ = rand.Read(random[:])
	w := webhook.Webhook{
		ID: webhook.NewWebhookID(time.Now(), random), Tenant: tenant, Name: "n", URL: b.receiver.URL,
		Patterns: []webhook.Pattern{pattern(b.t, "*")}, Status: webhook.Active, Policy: webhook.DefaultPolicy(),
		APIVersion: webhook.CurrentAPIVersion, CreatedBy: "me", CreatedAt: time.Now(), UpdatedAt: time.Now(),
	}
	w.Policy.InitialBackoff = 10 * time.Millisecond
	if change != nil {
		change(&w)
	}
	secret, err := webhook.SecretFromKey(make([]byte, 32))
	if err != nil {
		b.t.Fatal(err)
	}
	if err := b.hooks.Create(b.t.Context(), w, secret); err != nil {
		b.t.Fatal(err)
	}
	return w.ID
}

func pattern(t testing.TB, s string) webhook.Pattern {
	t.Helper()
	p, err := webhook.ParsePattern(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// accept stores n events in one commit and returns what may be rung for.
func (b *bundle) accept(n int) []webhook.Owed {
	b.t.Helper()
	typ, err := webhook.ParseEventType("lead.created")
	if err != nil {
		b.t.Fatal(err)
	}
	var sub webhook.Submission
	for i := range n {
		var random [10]byte
		_, _ = rand.Read(random[:])
		sub.Events = append(sub.Events, webhook.SubmittedEvent{Event: webhook.Event{
			ID: webhook.NewEventID(time.Now(), random), Tenant: tenant, Type: typ, Body: fmt.Sprintf(`{"n":%d}`, i),
		}})
	}
	_, owed, err := b.events.Accept(b.t.Context(), []webhook.Submission{sub})
	if err != nil {
		b.t.Fatal(err)
	}
	return owed
}

// await polls PostgreSQL until the condition, a SELECT of one boolean, holds.
func (b *bundle) await(what, condition string, args ...any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		var ok bool
		if err := b.db.GetContext(ctx, &ok, `SELECT `+condition, args...); err != nil && ctx.Err() == nil {
			b.t.Fatal(err)
		}
		if ok {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			var state []string
			_ = b.db.Select(&state, `SELECT p::text FROM pending_deliveries p LIMIT 5`)
			var lanes []string
			_ = b.db.Select(&lanes, `SELECT l::text FROM lanes l`)
			b.t.Fatalf("%s: not within 30s; pending %v, lanes %v", what, state, lanes)
		}
	}
}

const allSucceeded = `count(*) = $1 AND count(*) FILTER (WHERE status = 'success') = $1 FROM deliveries`

// receiver answers what it is told to and remembers what came.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string][]string // by delivery
	answer func(r *http.Request, nth int) int
	gate   chan struct{} // when not nil, every request waits here
	came   chan string   // delivery ids
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{bodies: map[string][]string{}, came: make(chan string, 10_000)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	id := req.Header.Get("Crm-Delivery-Id")
	r.mu.Lock()
	r.bodies[id] = append(r.bodies[id], string(body))
	nth, answer, gate := len(r.bodies[id]), r.answer, r.gate
	r.mu.Unlock()
	r.came <- id
	if gate != nil {
		select {
		case <-gate:
		case <-req.Context().Done():
		}
	}
	if answer != nil {
		w.WriteHeader(answer(req, nth))
	}
}

// requests counts all, and the most that one delivery got.
func (r *receiver) requests() (total, most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, bodies := range r.bodies {
		total += len(bodies)
		most = max(most, len(bodies))
	}
	return total, most
}

func TestWorker_deliversABacklogOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(nil)
	b.webhook(nil)
	b.doorbell.RingFirst(b.accept(100))
	b.worker()
	b.await("all delivered", allSucceeded, 200)
	if total, most := b.receiver.requests(); total != 200 || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want 200 and 1", total, most)
	}
	b.await("empty lanes", `bool_and(admitted = 0 AND queued = 0) FROM lanes`)
}

func TestI8_sameBytesOnEveryAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(nil)
	b.receiver.answer = func(_ *http.Request, nth int) int {
		if nth < 3 {
			return 500
		}
		return 204
	}
	b.worker()
	b.doorbell.RingFirst(b.accept(1))
	b.await("delivered on the third attempt", `attempt_count = 3 AND status = 'success' FROM deliveries`)
	b.await("attempts without gaps", `array_agg(number ORDER BY number) = '{1,2,3}' FROM attempts`)
	for id, bodies := range b.receiver.bodies {
		for _, body := range bodies {
			if body != `{"n":0}` {
				t.Errorf("delivery %s got %q", id, body)
			}
		}
	}
}

func TestI4_exhaustedDeliveryStaysFailedAndShowsInTheArchive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(func(w *webhook.Webhook) { w.Policy.MaxAttempts = 2 })
	b.receiver.answer = func(*http.Request, int) int { return 503 }
	b.worker()
	owed := b.accept(1)
	b.doorbell.RingFirst(owed)
	b.await("failed for good", `status = 'failed' AND failure_reason = 'attempts_exhausted' AND attempt_count = 2 FROM deliveries`)
	archived := func() bool {
		n, err := b.redis.ZCard(t.Context(), "asynq:{"+string(tasks.QueueFor(owed[0].Webhook))+"}:archived").Result()
		return err == nil && n == 1
	}
	waitFor(t, "the task to be archived", archived)
	b.doorbell.Ring(owed) // a stale bell finds nothing to do
	b.doorbell.RingFirst(b.accept(1))
	b.await("another delivery failed", `count(*) = 2 FROM deliveries WHERE status = 'failed'`)
	if total, most := b.receiver.requests(); total != 4 || most != 2 {
		t.Errorf("requests = %d, at most %d for one delivery, want 4 and 2", total, most)
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestI2_emptiedRedisLosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(nil)
	b.webhook(func(w *webhook.Webhook) { w.URL += "/slow" })
	b.receiver.answer = func(r *http.Request, nth int) int {
		if r.URL.Path == "/slow" && nth == 1 {
			return 500
		}
		return 200
	}
	b.worker()
	b.doorbell.RingFirst(b.accept(50))
	b.await("half way", `count(*) > 20 FROM attempts`)
	if err := b.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.accept(50) // nobody rings for these
	b.await("all delivered", allSucceeded, 200)
}

func TestI2_unrungDeliveriesAreRungByTheRelay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(nil)
	b.accept(10)
	b.worker()
	b.await("all delivered", allSucceeded, 10)
}

func TestI9_stopFinishesWhatIsInFlightAndRecordsNoFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(nil)
	b.receiver.gate = make(chan struct{})
	stop := b.worker()
	b.doorbell.RingFirst(b.accept(5))
	for range 3 { // the window
		<-b.receiver.came
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	b.receiver.mu.Lock()
	gate := b.receiver.gate
	b.receiver.gate = nil
	b.receiver.mu.Unlock()
	close(gate)
	<-stopped
	// Whether it went on with the others depends on which came first, the end or the answers.
	b.await("what was in flight is recorded, nothing failed, nothing leased", `count(*) FILTER (WHERE error_class IS NULL) = count(*) AND count(*) >= 3
		AND NOT EXISTS (SELECT FROM pending_deliveries WHERE lease_until IS NOT NULL) FROM attempts`)
	b.worker()
	b.await("another worker does the rest", allSucceeded, 5)
	if total, most := b.receiver.requests(); total != 5 || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want 5 and 1", total, most)
	}
}

func TestI3_manyWorkersSendOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(nil)
	for range 3 {
		b.worker()
	}
	owed := b.accept(60)
	for range 5 { // far too many bells
		b.doorbell.Ring(owed)
	}
	b.await("all delivered", allSucceeded, 60)
	if total, most := b.receiver.requests(); total != 60 || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want 60 and 1", total, most)
	}
}

func TestI10_aHangingReceiverDelaysNobody(t *testing.T) {
	t.Parallel()
	// Far less than the hanging one's timeout: whoever waits for that is seen.
	const timeout, noDelay = 30 * time.Second, 10 * time.Second
	b := setup(t)
	b.webhook(func(w *webhook.Webhook) { w.URL += "/hang"; w.Policy.Timeout = timeout })
	healthy := b.webhook(func(w *webhook.Webhook) { w.URL += "/healthy" })
	hanging := &holding{letGo: make(chan struct{})}
	defer close(hanging.letGo) // before the worker is stopped, which waits for them
	b.receiver.answer = func(r *http.Request, nth int) int {
		if r.URL.Path == "/hang" {
			return hanging.answer(r, nth)
		}
		return 200
	}
	b.worker()
	owed := b.accept(300)
	rung := time.Now()
	b.doorbell.RingFirst(owed)
	b.await("the healthy one got everything", `count(*) = 300 FROM deliveries WHERE webhook_id = $1 AND status = 'success'`, healthy.UUID())
	if took := time.Since(rung); took > noDelay {
		t.Errorf("the healthy one's took %s beside one that hangs for %s, want at most %s", took, timeout, noDelay)
	}
	if most := hanging.mostAtATime(); most != b.config.EndpointConcurrency {
		t.Errorf("%d requests in flight for one webhook, want its window of %d", most, b.config.EndpointConcurrency)
	}
}

func TestI10_aLockedLaneDelaysItsOwnWebhookOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	locked := b.webhook(nil)
	free := b.webhook(nil)
	for free.Hash(2) != locked.Hash(2) { // whatever is shared, they share it
		free = b.webhook(nil)
	}
	owed := b.accept(1)
	tx, err := b.db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM lanes WHERE webhook_id = $1 FOR UPDATE`, locked.UUID()); err != nil {
		t.Fatal(err)
	}
	b.worker()
	b.doorbell.RingFirst(owed)
	const recorded = `count(*) = 1 FROM deliveries WHERE webhook_id = $1 AND status = 'success'`
	b.await("the free one is recorded while the other is locked", recorded, free.UUID())
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	b.await("the locked one is recorded once it is free", recorded, locked.UUID())
	if total, most := b.receiver.requests(); most != 1 {
		t.Errorf("%d requests, at most %d for one delivery, want 1", total, most)
	}
}
