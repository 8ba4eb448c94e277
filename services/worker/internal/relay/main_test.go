package relay_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant   = webhook.TenantID("acme")
	window   = 3
	patience = 20 * time.Second
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// bundle is a relay over real servers; only ticks, and bells that are counted,
// are the test's.
type bundle struct {
	t        testing.TB
	db       *sqlx.DB
	work     *postgres.Work
	events   *postgres.Events
	redis    redis.UniversalClient // goes through path
	path     *valve
	server   redis.UniversalClient // does not
	registry *prometheus.Registry
	bells    *bells
	relay    *relay.Relay
	keeper   *relay.Keeper
	// leads is asked for leadership; tests that only tick need none.
	leads func(context.Context) (relay.Leadership, error)
}

func setup(t testing.TB) *bundle {
	t.Helper()
	b := &bundle{t: t, path: &valve{}, registry: prometheus.NewRegistry()}
	var err error
	if b.db, err = postgres.Open(postgres.Config{URL: postgrestest.New(t), HotPath: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.db.Close() })
	keys, err := seal.ParseKeys("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	b.work, b.events = postgres.NewWork(b.db, keys, window, time.Now), postgres.NewEvents(b.db, window)
	b.connect()
	b.webhook(keys)

	b.relay, b.bells = b.relayOver(b.redis, b.registry)
	b.keeper = relay.NewKeeper(relay.KeeperConfig{
		Lanes: postgres.NewRelay(b.db), Tolerance: webhook.Tolerance{For: time.Hour, Deliveries: 1}, Log: quiet(), Registry: b.registry,
	})
	return b
}

// relayOver makes the relay of a process that reaches Redis by a client.
func (b *bundle) relayOver(c redis.UniversalClient, registry *prometheus.Registry) (*relay.Relay, *bells) {
	doorbell := tasks.NewDoorbell(tasks.NewRinger(c), quiet(), registry)
	b.background(doorbell.Run)
	counting := &bells{next: doorbell.Ring, rung: make(chan int, 1000)}
	return relay.New(relay.Config{
		Store: postgres.NewRelay(b.db), Admitter: b.work, Doorbell: counting, Missed: doorbell.Missed(),
		Canary: tasks.NewCanary(c), Sweeper: tasks.NewSweeper(c, time.Now),
		Lead:   func(ctx context.Context) (relay.Leadership, error) { return b.leads(ctx) },
		Window: window, Log: quiet(), Registry: registry,
	}), counting
}

func (b *bundle) connect() {
	b.t.Helper()
	url := redistest.New(b.t)
	opts, err := redis.ParseURL(url)
	if err != nil {
		b.t.Fatal(err)
	}
	opts.Dialer, opts.MaxRetries = b.path.dial, -1
	b.redis = redis.NewClient(opts)
	b.t.Cleanup(func() { _ = b.redis.Close() })
	if b.server, err = tasks.Connect(url); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = b.server.Close() })
}

// background runs a component until the test or the returned stop ends it.
func (b *bundle) background(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }() // waited for at the end
	b.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bundle) webhook(keys postgres.Keys) {
	b.t.Helper()
	all, err := webhook.ParsePattern("*")
	if err != nil {
		b.t.Fatal(err)
	}
	secret, err := webhook.SecretFromKey(make([]byte, 32))
	if err != nil {
		b.t.Fatal(err)
	}
	now := time.Now()
	err = postgres.NewWebhooks(b.db, keys).Create(b.t.Context(), webhook.Webhook{
		ID: webhook.NewWebhookID(now, random()), Tenant: tenant, Name: "n", URL: "https://example.com",
		Patterns: []webhook.Pattern{all}, Status: webhook.Active, Policy: webhook.DefaultPolicy(),
		APIVersion: webhook.CurrentAPIVersion, CreatedBy: "me", CreatedAt: now, UpdatedAt: now,
	}, secret)
	if err != nil {
		b.t.Fatal(err)
	}
}

func random() (r [10]byte) {
	_, _ = rand.Read(r[:])
	return r
}

// accept stores n events and returns what was admitted; nobody rings for it.
func (b *bundle) accept(n int) []webhook.Owed {
	b.t.Helper()
	typ, err := webhook.ParseEventType("lead.created")
	if err != nil {
		b.t.Fatal(err)
	}
	var sub webhook.Submission
	for i := range n {
		sub.Events = append(sub.Events, webhook.SubmittedEvent{Event: webhook.Event{
			ID: webhook.NewEventID(time.Now(), random()), Tenant: tenant, Type: typ, Body: fmt.Sprintf(`{"n":%d}`, i),
		}})
	}
	_, owed, err := b.events.Accept(b.t.Context(), []webhook.Submission{sub})
	if err != nil {
		b.t.Fatal(err)
	}
	return owed
}

func (b *bundle) exec(query string, args ...any) {
	b.t.Helper()
	if _, err := b.db.ExecContext(b.t.Context(), query, args...); err != nil {
		b.t.Fatal(err)
	}
}

// tick does a round and checks how many deliveries it rang for.
func (b *bundle) tick(when string, want int) {
	b.t.Helper()
	b.relay.Tick(b.t.Context())
	got := 0
	for {
		select {
		case n := <-b.bells.rung:
			got += n
			continue
		default:
		}
		break
	}
	if got != want {
		b.t.Errorf("%s: rang for %d deliveries, want %d", when, got, want)
	}
}

// answered starts a server of tasks and returns when each of the deliveries was
// rung for in Redis.
func (b *bundle) answered(owed []webhook.Owed) {
	b.t.Helper()
	came := make(chan webhook.DeliveryID, 1000)
	server, err := tasks.NewServer(tasks.ServerConfig{
		Redis: b.server, Log: quiet(),
		Handler: func(_ context.Context, bell tasks.Bell) (tasks.Answer, error) {
			for _, id := range bell.Deliveries {
				came <- id
			}
			return tasks.Answer{}, nil
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.background(server.Run)
	missing := map[webhook.DeliveryID]bool{}
	for _, o := range owed {
		missing[o.Delivery] = true
	}
	deadline := time.After(patience)
	for len(missing) > 0 {
		select {
		case id := <-came:
			delete(missing, id)
		case <-deadline:
			b.t.Fatalf("no task for %d of %d deliveries", len(missing), len(owed))
		}
	}
}

// metric waits until a counter has reached a value.
func (b *bundle) metric(name string, atLeast float64) {
	b.t.Helper()
	b.awaitMetric(name, func(v float64) bool { return v >= atLeast })
}

// gauge waits until a gauge has a value.
func (b *bundle) gauge(name string, value float64) {
	b.t.Helper()
	b.awaitMetric(name, func(v float64) bool { return v == value })
}

func (b *bundle) awaitMetric(name string, reached func(float64) bool) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		families, err := b.registry.Gather()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == name && reached(f.GetMetric()[0].GetCounter().GetValue()+f.GetMetric()[0].GetGauge().GetValue()) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("%s never got where it should", name)
		}
	}
}

// bells tells how many deliveries each ring was for, and passes it on.
type bells struct {
	next func([]webhook.Owed)
	rung chan int
}

func (b *bells) Ring(owed []webhook.Owed) {
	if len(owed) == 0 {
		return
	}
	b.next(owed)
	b.rung <- len(owed)
}

// valve is a way to Redis that can be shut.
type valve struct{ shut atomic.Bool }

var errShut = errors.New("redis is away")

func (v *valve) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if v.shut.Load() {
		return nil, errShut
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	return valved{conn, v}, err
}

type valved struct {
	net.Conn

	valve *valve
}

func (c valved) Read(p []byte) (int, error) {
	if c.valve.shut.Load() {
		return 0, errShut
	}
	return c.Conn.Read(p)
}

func (c valved) Write(p []byte) (int, error) {
	if c.valve.shut.Load() {
		return 0, errShut
	}
	return c.Conn.Write(p)
}
