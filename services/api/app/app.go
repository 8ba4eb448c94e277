// Package app wires the api. It is importable, so that a development runner and
// tests can embed one.
//
// It promises that the api listens whatever is away: without PostgreSQL it
// answers UNAVAILABLE, without Redis it accepts all the same. A stop takes no new
// requests, lets those in flight finish, commits what they submitted and rings
// for it, within the time of the longest test send and some seconds. Then nothing
// of it is left running or open.
package app

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/accept"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

const (
	// httpGrace is what requests in flight get at a stop: a test send waits for
	// the longest timeout of a webhook and two seconds more.
	httpGrace = webhook.MaxTimeout + 5*time.Second
	grace     = httpGrace + 5*time.Second
	// hotConns is for accepting: five commits at a time, and one for /readyz.
	hotConns = env.ConnectionsApart

	// A tenant has at most maxOperations going on besides accepting events, each of
	// which reads by as many connections. A page of a user interface may ask for far
	// more at once: they wait, for milliseconds as a rule.
	maxOperations = 4
	maxWaiting    = 128
	patience      = 5 * time.Second
	// maxTestSends is how many may wait for their receivers.
	maxTestSends = 16
	// maxBodiesKiB is for the large bodies of a tenant: 16 of the largest.
	maxBodiesKiB = 16 << 10
)

// App is one api.
type App struct {
	config   env.API
	log      *slog.Logger
	registry *prometheus.Registry
	group    *run.Group
	db, hot  *sqlx.DB
	redis    redis.UniversalClient
	server   *run.Server
	// What tenants may send in a second.
	events, requests *limit.Limiter
}

// New opens what the api needs and binds its address. PostgreSQL and Redis may
// be down. Run must follow, or Close.
func New(ctx context.Context, config env.API, log *slog.Logger) (_ *App, err error) {
	a := &App{config: config, log: log, registry: obs.NewRegistry("api"), group: run.NewGroup(log, grace)}
	defer func() { //nolint:contextcheck // what is open has to be closed, whatever ended ctx
		if err != nil {
			err = errors.Join(err, a.group.Close())
		}
	}()
	if err := a.open(); err != nil {
		return nil, err
	}
	return a, a.wire(ctx)
}

// Close releases an App that will not Run.
func (a *App) Close() error { return a.group.Close() }

// Addr is where the api listens.
func (a *App) Addr() string { return a.server.Addr() }

// Run serves until ctx ends, then lets requests in flight finish. Until
// PostgreSQL is there, requests are answered UNAVAILABLE and /readyz says 503.
func (a *App) Run(ctx context.Context) error { return a.group.Run(ctx) }

func (a *App) open() (err error) {
	url := a.config.URL.Reveal()
	if a.db, err = postgres.Open(postgres.Config{URL: url, MaxConns: a.config.Connections - hotConns}); err != nil {
		return err
	}
	a.group.OnClose("PostgreSQL", func(context.Context) error { return a.db.Close() })
	a.hot, err = postgres.Open(postgres.Config{
		URL: url, MaxConns: hotConns, HotPath: true, Longest: postgres.LongestAccept,
	})
	if err != nil {
		return err
	}
	a.group.OnClose("PostgreSQL, hot path", func(context.Context) error { return a.hot.Close() })
	if a.redis, err = tasks.Connect(a.config.RedisURL.Reveal()); err != nil {
		return err
	}
	a.group.OnClose("Redis", func(context.Context) error { return a.redis.Close() })
	return nil
}

func (a *App) wire(ctx context.Context) error {
	doorbell := tasks.NewDoorbell(tasks.NewRinger(a.redis), a.log, a.registry)
	accepter := accept.New(accept.Config{
		Store:    postgres.NewEvents(a.hot, a.config.EndpointConcurrency),
		Doorbell: doorbell, Registry: a.registry, Now: time.Now,
	})
	a.events = limit.New(a.config.TenantEventRate, 2*a.config.TenantEventRate, time.Now)
	a.requests = limit.New(a.config.TenantRequestRate, 2*a.config.TenantRequestRate, time.Now)
	rules := webhook.URLRules{AllowHTTP: a.config.AllowHTTP, AllowedNetworks: a.config.AllowedNetworks}
	schema, err := graph.NewSchema(graph.Config{
		Management: manage.New(manage.Config{
			Webhooks:   postgres.NewWebhooks(a.db, a.config.Keys),
			Deliveries: postgres.NewDeliveries(a.db, a.config.EndpointConcurrency),
			Tests:      postgres.NewTestSends(a.db),
			Lanes:      postgres.NewWork(a.db, a.config.Keys, a.config.EndpointConcurrency, time.Now),
			Doorbell:   doorbell, Rules: rules, Log: a.log, Now: time.Now,
		}),
		Accept: accepter, URLRules: rules, Events: a.events, Requests: a.requests, Log: a.log,
		Large:    limit.NewPlaces(limit.PlacesConfig{Tenant: 1, Queue: maxOperations, Patience: httpapi.DefaultQueryTimeout}),
		Parallel: a.share(),
	})
	if err != nil {
		return err
	}
	if err := a.serve(ctx, schema); err != nil {
		return err
	}
	a.group.Add("http", a.serving(accepter, doorbell))
	a.group.Add("PostgreSQL probe", a.awaitPostgres)
	return nil
}

func (a *App) serve(ctx context.Context, schema *graph.Schema) error {
	verifier, err := auth.New(ctx, auth.Config{
		Secret: []byte(a.config.JWTSecret.Reveal()), JWKSURL: a.config.JWKSURL.String(),
		Issuer: a.config.JWTIssuer, Audience: a.config.JWTAudience, Log: a.log,
	})
	if err != nil {
		return err
	}
	handler, err := httpapi.New(httpapi.Config{
		Executor: schema, Auth: verifier, Registry: a.registry, Log: a.log,
		Requests: a.requests, Events: a.events,
		Operations: limit.NewPlaces(limit.PlacesConfig{
			Tenant: a.share(), Queue: maxWaiting, Patience: patience, Aside: maxTestSends,
		}),
		Bodies: limit.NewPlaces(limit.PlacesConfig{Tenant: maxBodiesKiB, Queue: maxWaiting, Patience: patience}),
		// The hot path keeps a connection for it: whatever tenants ask for, nothing
		// that answers is taken out of rotation.
		Ready: func(ctx context.Context) error { return postgres.CheckMigrated(ctx, a.hot) },
	})
	if err != nil {
		return err
	}
	a.server, err = run.NewServer(ctx, run.ServerConfig{
		Name: "api", Addr: string(a.config.Addr), Handler: handler, Log: a.log, Grace: httpGrace,
	})
	if err == nil {
		a.group.OnClose("http", func(context.Context) error { _ = a.server.Close(); return nil })
	}
	return err
}

// share is how many operations of a tenant may go on, and how many connections each
// may use: together four fifths of the pool at most.
func (a *App) share() int {
	n := maxOperations
	for n > 1 && 5*n*n > 4*(a.config.Connections-hotConns) {
		n--
	}
	return n
}

// serving answers requests, and keeps committing and ringing for those that are
// in flight at the stop.
func (a *App) serving(accepter *accept.Accepter, doorbell *tasks.Doorbell) func(context.Context) error {
	return func(ctx context.Context) error {
		served, stop := context.WithCancel(context.WithoutCancel(ctx))
		last, silence := context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		defer silence()
		accepted, rung := make(chan error, 1), make(chan error, 1)
		go func() { accepted <- accepter.Run(served) }() // waited for below
		go func() { rung <- doorbell.Run(last) }()       // waited for below
		err := a.server.Run(ctx)
		stop()
		err = errors.Join(err, <-accepted)
		silence()
		return errors.Join(err, <-rung)
	}
}

// awaitPostgres only says in the log that PostgreSQL is away, and when it is there.
func (a *App) awaitPostgres(ctx context.Context) error {
	err := run.WaitFor(ctx, a.log, "PostgreSQL", func(ctx context.Context) error { return postgres.CheckMigrated(ctx, a.db) })
	if ctx.Err() != nil {
		return nil //nolint:nilerr // told to stop before it was there
	}
	return err
}
