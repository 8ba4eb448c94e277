package main

import (
	"context"
	"errors"
	"slices"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/chaos/proxy"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// loneFaults are those of one worker alone, while the others are well.
func loneFaults() []fault {
	var rows []fault
	for _, how := range cuts() {
		rows = append(rows, fault{
			name: "relay-no-redis-" + how.name, page: "relay-no-redis",
			title:   "the relay alone: no Redis (" + how.what + ") for 25 s; another worker: kill -9",
			prepare: steps(beforeRedis, withQuiet(quietHooks, halfSecond)), strands: true, bypassed: true,
			strike: func(ctx context.Context, s *scene) error { return muteRelay(ctx, s, how.begin) },
		})
	}
	return append(rows, []fault{
		{
			name: "worker-no-postgres", title: "one worker alone: no PostgreSQL for 25 s, past its leases",
			prepare: steps(beforePostgres, withQuiet(quietHooks, halfSecond)), strike: cutWorkerFromPostgres, strands: true,
		},
		{
			name: "worker-no-redis", title: "one worker alone: no Redis for 25 s",
			prepare: beforeRedis, strike: cutWorkerFromRedis, bypassed: true,
		},
	}...)
}

// muteRelay cuts the relay off from Redis, so that it rings for nobody, and kills
// another worker, whose deliveries nobody else rings for.
func muteRelay(ctx context.Context, s *scene, cut func(*proxy.Proxy) error) error {
	relay, victim, err := s.relayAndVictim(ctx)
	if err != nil {
		return err
	}
	wire := s.wireOf(relay)
	return during(ctx, asleep, func() error {
		s.down[victim] = true
		return errors.Join(s.killWorking(ctx, victim), cut(wire), s.needRelay(ctx, victim))
	}, wire.Pass)
}

// cutWorkerFromPostgres leaves a worker with requests whose outcomes it cannot
// record before their leases are over: others make them again.
func cutWorkerFromPostgres(ctx context.Context, s *scene) error {
	_, victim, err := s.relayAndVictim(ctx)
	if err != nil {
		return err
	}
	wire := s.wireOf(victim)
	return during(ctx, asleep, func() error {
		return errors.Join(s.cutOff(ctx, false, wire.Swallow, victim), s.needRelay(ctx, victim))
	}, wire.Pass)
}

// cutWorkerFromRedis cuts while answers are on their way: bells are lost that Redis
// has given to the worker.
func cutWorkerFromRedis(ctx context.Context, s *scene) error {
	relay, err := s.relay(ctx)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(s.workers), func(w *stage.Service) bool { return w == relay })
	wire := s.wireOf(others[s.random.IntN(len(others))])
	return during(ctx, asleep, func() error {
		wire.Delay(late)
		return errors.Join(wait(ctx, 2*late), wire.Swallow())
	}, wire.Pass)
}

// wireOf is a worker's own.
func (s *scene) wireOf(w *stage.Service) *proxy.Proxy { return s.wires[slices.Index(s.workers, w)] }
