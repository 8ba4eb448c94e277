// Package app wires the monitor: asynqmon over the queues' Redis, behind a
// login. It is importable, so that a development runner and tests can embed it.
//
// What it promises beside asynqmon: nobody sees or does anything without the
// login, but for /healthz and the form to log in; nothing is changed unless the configuration allows
// it; no page makes a browser ask any other host; and payloads are shown as
// what they mean.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

const (
	grace = 15 * time.Second
	// publishInterval is how soon a queue that Redis forgot is shown again.
	publishInterval = 15 * time.Second
	publishTimeout  = 5 * time.Second
)

// App is one monitor.
type App struct {
	config env.Monitor
	log    *slog.Logger
	group  *run.Group
	redis  redis.UniversalClient
	server *run.Server
}

// New opens what the monitor needs and binds its address. Redis may be down.
// Run must follow, or Close.
func New(ctx context.Context, config env.Monitor, log *slog.Logger) (_ *App, err error) {
	a := &App{config: config, log: log, group: run.NewGroup(log, grace)}
	defer func() { //nolint:contextcheck // what is open is closed, whatever became of ctx
		if err != nil {
			err = errors.Join(err, a.group.Close())
		}
	}()
	if a.redis, err = tasks.Connect(config.RedisURL.Reveal()); err != nil {
		return nil, err
	}
	a.group.OnClose("Redis", func(context.Context) error { return a.redis.Close() })
	handler, err := a.handler(ctx)
	if err != nil {
		return nil, err
	}
	a.server, err = run.NewServer(ctx, run.ServerConfig{Name: "monitor", Addr: string(config.Addr), Handler: handler, Log: log})
	if err != nil {
		return nil, err
	}
	a.group.OnClose("monitor", func(context.Context) error { _ = a.server.Close(); return nil })
	a.group.Add("monitor", a.server.Run)
	a.group.Add("queue names", a.publishQueues)
	return a, nil
}

// Addr is the address that was bound.
func (a *App) Addr() string { return a.server.Addr() }

// Close releases an App that will not Run.
func (a *App) Close() error { return a.group.Close() }

// Run serves until ctx ends.
func (a *App) Run(ctx context.Context) error { return a.group.Run(ctx) }

// handler puts asynqmon behind everything that it does not do itself.
func (a *App) handler(ctx context.Context) (http.Handler, error) {
	mon := asynqmon.New(asynqmon.Options{
		RedisConnOpt:     connection{a.config.RedisURL.Reveal()},
		PayloadFormatter: asynqmon.PayloadFormatterFunc(formatPayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(func(string, []byte) string { return "" }),
		ReadOnly:         a.config.ReadOnly,
	})
	a.group.OnClose("asynqmon", func(context.Context) error { return mon.Close() })
	pages, err := newPages(ctx, mon)
	if err != nil {
		return nil, fmt.Errorf("preparing asynqmon's page: %w", err)
	}
	login := newLogin(a.config.User, a.config.Password.Reveal(), a.log, time.Now)
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", healthz)
	login.handle(mux)
	mux.Handle("/", login.require(a.guardChanges(pages)))
	return secured(mux), nil
}

func healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintln(w, "ok")
}

// publishQueues makes queues visible before their first task, and after Redis
// was emptied.
func (a *App) publishQueues(ctx context.Context) error {
	tick := time.NewTicker(publishInterval)
	defer tick.Stop()
	for {
		a.publishOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *App) publishOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	if err := tasks.PublishQueues(ctx, a.redis); err != nil && !errors.Is(err, context.Canceled) {
		a.log.WarnContext(ctx, "queue names not published, trying again", obs.Err(err))
	}
}

// connection gives asynqmon clients like everybody else's.
type connection struct{ url string }

// MakeRedisClient implements asynq.RedisConnOpt. The URL has been connected to
// once already; a nil client would make asynqmon panic.
func (c connection) MakeRedisClient() any {
	client, err := tasks.Connect(c.url)
	if err != nil {
		return nil
	}
	return client
}
