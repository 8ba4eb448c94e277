package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/chaos/proxy"
)

const (
	// frozen is how long bells gather in Redis: workers at work leave none there.
	frozen = 500 * time.Millisecond
	// outdated is how old the data are with which Redis comes back.
	outdated = 2 * time.Second
	latency  = 500 * time.Millisecond
	// stall is longer than the client waits for an answer (5 s).
	stall = 6 * time.Second
)

func redisFaults() []fault {
	return []fault{
		{
			name: "redis-flush", title: "Redis: FLUSHALL with 5,000 deliveries pending",
			prepare: withQuiet(webhook.MaxWebhooksPerTenant, slowPath), strike: flushRedis,
		},
		{name: "redis-kill", title: "Redis: kill -9, restart (AOF)", strike: killRedis},
		{name: "redis-kill-memory", title: "Redis: kill -9, restart (no persistence)", redis: forgetfulRedis, strike: killRedis},
		{name: "redis-restart", title: "Redis: SIGTERM, restart (AOF)", strike: restartRedis},
		{name: "redis-outdated", title: "Redis: kill -9, back with data 2 s old", strike: outdateRedis},
		{name: "redis-full", title: "Redis: maxmemory reached (noeviction) for 8 s", strike: fillRedis},
		{name: "redis-slow", title: "Redis: answers take 500 ms, for 8 s", prepare: throughProxy, strike: slowRedis},
		{name: "redis-stall", title: "Redis: no answers for 6 s while tasks complete", prepare: throughProxy, strike: stallRedis},
	}
}

// flushRedis strikes while nobody has taken any of a backlog's bells. Without a relay
// the backlog is lost for good: the quiet tenant has nothing in flight whose end
// would have the rest found, and no next event.
func flushRedis(ctx context.Context, s *scene) error {
	return s.whileFrozen(func() error {
		if err := s.submitQuiet(ctx, backlogCalls, backlogEvents); err != nil {
			return err
		}
		return s.empty(ctx)
	})
}

// empty empties Redis when bells have gathered in it.
func (s *scene) empty(ctx context.Context) error {
	if err := wait(ctx, frozen); err != nil {
		return err
	}
	n, err := s.bells(ctx)
	if err != nil {
		return err
	}
	if n == 0 {
		return errors.New("there are no bells in Redis: emptying it would show nothing")
	}
	return s.system.EmptyRedis(ctx)
}

// whileFrozen does something while no worker moves.
func (s *scene) whileFrozen(do func() error) error {
	for _, w := range s.workers {
		if err := w.Freeze(); err != nil {
			return err
		}
	}
	err := do()
	for _, w := range s.workers {
		err = errors.Join(err, w.Thaw())
	}
	return err
}

func killRedis(ctx context.Context, s *scene) error { return bounce(ctx, s.redis) }

func restartRedis(ctx context.Context, s *scene) error {
	stopping, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return errors.Join(s.redis.Stop(stopping), s.redis.Start(ctx))
}

// forgetfulRedis has no persistence at all.
func forgetfulRedis(ctx context.Context, s *scene) (string, error) {
	r, err := devstack.NewRedis(devstack.RedisConfig{Dir: s.folder("redis")})
	if err != nil {
		return "", err
	}
	s.redis = r
	s.atEnd(r.Stop)
	err = r.Start(ctx)
	return r.URL(), err
}

// outdateRedis stops the append-only file a while before the end: Redis comes back
// with tasks that were done, and without those that came since.
func outdateRedis(ctx context.Context, s *scene) error {
	if err := s.system.Redis.ConfigSet(ctx, "appendonly", "no").Err(); err != nil {
		return fmt.Errorf("ending persistence: %w", err)
	}
	if err := wait(ctx, outdated); err != nil {
		return err
	}
	return bounce(ctx, s.redis)
}

// fillRedis allows it less than it holds: whatever it forgets, it is full.
func fillRedis(ctx context.Context, s *scene) error {
	limit := func(ctx context.Context, bytes string) error {
		return s.system.Redis.ConfigSet(ctx, "maxmemory", bytes).Err()
	}
	return during(ctx, cut,
		func() error { return limit(ctx, "1") },
		func(ctx context.Context) error { return limit(ctx, "0") })
}

func slowRedis(ctx context.Context, s *scene) error {
	return during(ctx, cut,
		func() error { return s.breakWires(func(p *proxy.Proxy) error { p.Delay(latency); return nil }) },
		s.mendWires)
}

// stallRedis holds back what Redis answers and not what it is told: tasks are done
// there, and the workers cannot know.
func stallRedis(ctx context.Context, s *scene) error {
	return during(ctx, stall,
		func() error { return s.breakWires(func(p *proxy.Proxy) error { p.Stall(); return nil }) },
		s.mendWires)
}

func groupFaults() []fault {
	return []fault{
		{
			name: "redis-sentinel", title: "Redis Sentinel: primary kill -9, failover", redis: startSentinel,
			strike: failOver,
		},
		{
			name: "redis-cluster", title: "Redis Cluster: one of 3 masters kill -9, failover", redis: startCluster,
			strike: failOver,
		},
	}
}

func startSentinel(ctx context.Context, s *scene) (string, error) {
	g, err := devstack.NewRedisSentinel(devstack.RedisConfig{Dir: s.folder("sentinel"), Durable: true})
	if err != nil {
		return "", err
	}
	s.atEnd(g.Stop)
	if err := g.Start(ctx); err != nil {
		return "", err
	}
	s.redis, err = g.Primary(ctx)
	return g.URL(), err
}

func startCluster(ctx context.Context, s *scene) (string, error) {
	g, err := devstack.NewRedisCluster(devstack.RedisConfig{Dir: s.folder("cluster"), Durable: true})
	if err != nil {
		return "", err
	}
	s.atEnd(g.Stop)
	if err := g.Start(ctx); err != nil {
		return "", err
	}
	masters := g.Masters()
	s.redis = masters[s.random.IntN(len(masters))]
	return g.URL(), nil
}

// failOver lets the others do without the victim; when it comes back, it is a replica.
func failOver(ctx context.Context, s *scene) error {
	return during(ctx, cut, s.redis.Kill, s.redis.Start)
}

// folder is the row's own, for servers of its own.
func (s *scene) folder(name string) string { return filepath.Join(s.servers.Dir(), s.name, name) }
