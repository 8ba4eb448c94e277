package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// away is how long what is killed stays away.
const away = time.Second

// fault is a row: what is done to a running system.
type fault struct {
	name, title string
	strike      func(context.Context, *scene) error
	// repeats says that senders die between a request and its record: as many
	// requests as were in flight may be made twice, and otherwise none.
	repeats bool
}

func faults() []fault {
	return []fault{
		{name: "none", title: "none", strike: func(context.Context, *scene) error { return nil }},
		{name: "worker-kill", title: "one worker: kill -9", strike: killWorker, repeats: true},
		{name: "workers-kill", title: "all workers: kill -9, restart", strike: killWorkers, repeats: true},
		{name: "workers-roll", title: "all workers: SIGTERM and restart, one by one", strike: rollWorkers},
		{name: "redis-flush", title: "Redis: FLUSHALL with bells in it", strike: flushRedis},
		{name: "redis-kill", title: "Redis: kill -9, restart (AOF)", strike: killRedis},
		{name: "postgres-kill", title: "PostgreSQL: kill -9, restart", strike: killPostgres},
		{name: "api-kill", title: "one api: kill -9, restart", strike: killAPI},
	}
}

func killWorker(_ context.Context, s *scene) error { return oneOf(s.random, s.workers).Kill() }

func killWorkers(ctx context.Context, s *scene) error {
	for _, w := range s.workers {
		if err := w.Kill(); err != nil {
			return err
		}
	}
	if err := wait(ctx, away); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range s.workers {
		g.Go(func() error { return w.Start(ctx) })
	}
	return g.Wait()
}

func rollWorkers(ctx context.Context, s *scene) error {
	for _, w := range s.workers {
		stopping, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := w.Stop(stopping)
		cancel()
		if err := errors.Join(err, w.Start(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// frozen is how long bells gather in Redis: workers at work leave none there.
const frozen = 500 * time.Millisecond

func flushRedis(ctx context.Context, s *scene) error {
	for _, w := range s.workers {
		if err := w.Freeze(); err != nil {
			return err
		}
	}
	err := wait(ctx, frozen)
	if err == nil {
		err = s.system.Redis.FlushAll(ctx).Err()
	}
	for _, w := range s.workers {
		err = errors.Join(err, w.Thaw())
	}
	if err != nil {
		return fmt.Errorf("emptying Redis: %w", err)
	}
	return nil
}

// server is what the private servers have in common.
type server interface {
	Kill() error
	Start(ctx context.Context) error
}

func killRedis(ctx context.Context, s *scene) error    { return bounce(ctx, s.servers.Redis) }
func killPostgres(ctx context.Context, s *scene) error { return bounce(ctx, s.servers.Postgres) }
func killAPI(ctx context.Context, s *scene) error      { return bounce(ctx, oneOf(s.random, s.apis)) }

func bounce(ctx context.Context, victim server) error {
	if err := victim.Kill(); err != nil {
		return err
	}
	if err := wait(ctx, away); err != nil {
		return err
	}
	return victim.Start(ctx)
}

func oneOf(random *rand.Rand, services []*stage.Service) *stage.Service {
	return services[random.IntN(len(services))]
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
