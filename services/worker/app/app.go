// Package app wires a worker. It is importable, so that a development runner and
// tests can embed one.
//
// It promises that a worker starts whatever is away, and works as soon as
// PostgreSQL, its schema and Redis are there; that its parts end together, the
// first failure ending all; and that a stop takes no new work, lets requests in
// flight finish, records them and rings for what it leaves (I9), within the
// longest timeout of a webhook and some seconds. Then nothing of it is left
// running or open. Any number of them may run, in one process or in many.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/deliver"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/prune"
	"github.com/crm-webhooks/crm-webhooks/services/worker/internal/relay"
)

// grace is what a stop may take: the longest exchange, and recording it. Each of the
// components ends by itself before that, whatever PostgreSQL and Redis do.
const grace = webhook.MaxTimeout + 9*time.Second

// App is one worker.
type App struct {
	config   env.Worker
	log      *slog.Logger
	registry *prometheus.Registry
	group    *run.Group
	// Leaders hold their connections, pruning has long statements, and delivering
	// short ones.
	leaders, db, hot *sqlx.DB
	redis            redis.UniversalClient
	metrics          *run.Server
}

// New opens what the worker needs and binds its metrics address. PostgreSQL and
// Redis may be down. Run must follow, or Close.
func New(ctx context.Context, config env.Worker, log *slog.Logger) (_ *App, err error) {
	a := &App{config: config, log: log, registry: obs.NewRegistry("worker"), group: run.NewGroup(log, grace)}
	defer func() { //nolint:contextcheck // what is open has to be closed, whatever ended ctx
		if err != nil {
			err = errors.Join(err, a.group.Close())
		}
	}()
	if err := a.open(ctx); err != nil {
		return nil, err
	}
	return a, a.wire()
}

// Close releases an App that will not Run.
func (a *App) Close() error { return a.group.Close() }

// MetricsAddr is where /metrics, /healthz and /readyz are served.
func (a *App) MetricsAddr() string { return a.metrics.Addr() }

// Run works until ctx ends, then finishes or releases what is in flight.
func (a *App) Run(ctx context.Context) error { return a.group.Run(ctx) }

func (a *App) open(ctx context.Context) (err error) {
	url := a.config.URL.Reveal()
	a.group.OnClose("PostgreSQL", a.closePools)
	for _, pool := range []struct {
		db     **sqlx.DB
		config postgres.Config
	}{
		{&a.leaders, postgres.Config{URL: url, MaxConns: leaderConns, StatementTimeout: leaderTimeout}},
		{&a.db, postgres.Config{URL: url, MaxConns: repairConns}},
		{&a.hot, postgres.Config{URL: url, MaxConns: a.config.Connections - env.ConnectionsApart, HotPath: true}},
	} {
		if *pool.db, err = postgres.Open(pool.config); err != nil {
			return err
		}
	}
	if a.redis, err = tasks.Connect(a.config.RedisURL.Reveal()); err != nil {
		return err
	}
	a.group.OnClose("Redis", func(context.Context) error { return a.redis.Close() })
	a.metrics, err = run.NewServer(ctx, run.ServerConfig{
		Name: "metrics", Addr: string(a.config.MetricsAddr), Handler: a.status(), Log: a.log,
	})
	if err == nil {
		a.group.OnClose("metrics", func(context.Context) error { _ = a.metrics.Close(); return nil })
	}
	return err
}

const (
	// leaderConns is one for each lead: relay, keeper and pruning.
	leaderConns = 3
	// leaderTimeout is for what takes no time. A leader finds out 5 s later that the
	// server does not answer, and does not keep a stop waiting for longer.
	leaderTimeout = 3 * time.Second
	// repairConns is for pruning and the probes.
	repairConns = env.ConnectionsApart - leaderConns
)

// closePools closes what is open of them, together: when the server does not answer
// each takes a while. A connection that is broken needs no closing.
func (a *App) closePools(context.Context) error {
	var closing sync.WaitGroup
	for _, pool := range []*sqlx.DB{a.leaders, a.db, a.hot} {
		if pool != nil {
			closing.Go(func() { _ = pool.Close() })
		}
	}
	closing.Wait()
	return nil
}

func (a *App) wire() error {
	send, err := sender.New(sender.Config{
		Version: obs.Version(), Concurrency: a.config.Concurrency,
		AllowedNetworks: a.config.AllowedNetworks, BlockedNetworks: a.config.BlockedNetworks,
	})
	if err != nil {
		return err
	}
	a.group.OnClose("sender", func(context.Context) error { send.Close(); return nil })
	var (
		work     = postgres.NewWork(a.hot, a.config.Keys, a.config.EndpointConcurrency, time.Now)
		repair   = postgres.NewRelay(a.hot)
		doorbell = tasks.NewDoorbell(tasks.NewRinger(a.redis), a.log, a.registry)
		gate     = tasks.NewGate()
	)
	engine, err := deliver.New(deliver.Config{
		Store: work, Sender: send, Doorbell: doorbell, Disabler: repair, Gate: gate, Log: a.log, Registry: a.registry,
		Worker: workerName(), Slots: a.config.Concurrency, Now: time.Now, Jitter: rand.Float64,
	})
	if err != nil {
		return err
	}
	server, err := tasks.NewServer(tasks.ServerConfig{
		Redis: a.redis, Log: a.log, Handler: engine.Handle, Gate: gate,
		// As many bells of each queue as slots: a bell is held while its receiver
		// hangs, and the next one then waits for a slot at worst, never for an answer.
		Concurrency: a.config.Concurrency,
	})
	if err != nil {
		return err
	}
	a.registry.MustRegister(tasks.NewCollector(a.redis))
	a.group.Add("metrics", a.metrics.Run)
	a.group.Add("delivery", a.delivery(engine, doorbell, server))
	a.group.Add("relay", a.afterPostgres(a.relay(work, repair, doorbell).Run))
	a.group.Add("keeper", a.afterPostgres(a.keeper(repair).Run))
	a.group.Add("prune", a.afterPostgres(a.pruner().Run))
	return nil
}

// delivery runs the three that depend on each other's end: the server waits for
// its handlers, which wait for the engine; the doorbell rings for both to the
// last.
func (a *App) delivery(engine *deliver.Engine, doorbell *tasks.Doorbell, server *tasks.Server) func(context.Context) error {
	return a.afterPostgres(func(ctx context.Context) error {
		last, silence := context.WithCancel(context.WithoutCancel(ctx))
		inner, stop := context.WithCancel(ctx)
		defer stop()
		rung := make(chan error, 1)
		go func() { rung <- doorbell.Run(last) }() // waited for below
		delivered := make(chan error, 1)
		go func() { delivered <- engine.Run(inner) }() // waited for below
		err := server.Run(ctx)
		stop()
		err = errors.Join(err, <-delivered)
		silence()
		return errors.Join(err, <-rung)
	})
}

// afterPostgres waits for PostgreSQL and its schema first.
func (a *App) afterPostgres(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := a.awaitPostgres(ctx); err != nil {
			return nil //nolint:nilerr // told to stop before there was anything to do
		}
		return run(ctx)
	}
}

func (a *App) awaitPostgres(ctx context.Context) error {
	return run.WaitFor(ctx, a.log, "PostgreSQL", func(ctx context.Context) error {
		return postgres.CheckMigrated(ctx, a.db)
	})
}

func (a *App) relay(work *postgres.Work, repair *postgres.Relay, doorbell *tasks.Doorbell) *relay.Relay {
	return relay.New(relay.Config{
		Store: repair, Admitter: work, Doorbell: doorbell, Missed: doorbell.Missed(),
		Canary: tasks.NewCanary(a.redis), Sweeper: tasks.NewSweeper(a.redis, time.Now),
		Lead: a.lead(postgres.RelayLock), Window: a.config.EndpointConcurrency, Log: a.log, Registry: a.registry,
	})
}

func (a *App) keeper(repair *postgres.Relay) *relay.Keeper {
	return relay.NewKeeper(relay.KeeperConfig{
		Lanes: repair, Lead: a.lead(postgres.KeeperLock),
		Tolerance: webhook.Tolerance{For: a.config.DisableAfter, Deliveries: a.config.DisableAfterFailures},
		Log:       a.log, Registry: a.registry,
	})
}

func (a *App) lead(lock postgres.Lock) relay.Lead {
	return func(ctx context.Context) (relay.Leadership, error) {
		leader, err := postgres.Lead(ctx, a.leaders, lock)
		if leader == nil {
			return nil, err // a nil *Leader would not be a nil Leadership
		}
		return leader, err
	}
}

func (a *App) pruner() *prune.Pruner {
	return prune.New(prune.Config{
		Store: postgres.NewPruner(a.db), Retention: a.config.Retention, Log: a.log, Now: time.Now,
		Lead: func(ctx context.Context) (func(context.Context) error, error) {
			leader, err := postgres.Lead(ctx, a.leaders, postgres.PruneLock)
			if leader == nil {
				return nil, err
			}
			return leader.Resign, err
		},
	})
}

// status serves the probes and the metrics. A worker is ready when it can reach
// both servers; an orchestrator should not restart it when it cannot.
func (a *App) status() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", obs.MetricsHandler(a.registry))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		for name, probe := range map[string]func() error{
			"PostgreSQL": func() error { return a.db.PingContext(ctx) },
			"Redis":      func() error { return tasks.Ping(ctx, a.redis) },
		} {
			if probe() != nil {
				http.Error(w, name+" is away", http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	return mux
}

// workerName is unique to this process, and says where it runs to whoever reads
// a lease.
func workerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return fmt.Sprintf("%s-%d-%06x", host, os.Getpid(), rand.Uint32N(1<<24)) //nolint:gosec // a name, not a secret
}
