package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// quiet is a tenant without load. What a webhook under load is owed and nobody
// comes for is found by whoever records its next delivery; what this one is owed is
// found by a relay, or by nobody.
const quiet = webhook.TenantID("quiet")

const (
	quietHooks  = 6
	quietEvents = 8 // all within a window
	// halfSecond leaves the time to strike while requests are in flight.
	halfSecond = "/slow/500"
	// A backlog is backlogCalls times backlogEvents events for as many webhooks as a
	// tenant may have: 5,000 deliveries, of which a thousand are rung for.
	backlogCalls, backlogEvents = 5, 10
	catchTries                  = 5
	catchLimit, catchEvery      = time.Second, 5 * time.Millisecond
)

// withQuiet is a step of prepare: the tenant, with some webhooks.
func withQuiet(hooks int, path string) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		for range hooks {
			if err := s.addHook(ctx, quiet, path); err != nil {
				return err
			}
		}
		return nil
	}
}

// submitQuiet has the quiet tenant submit events, and returns when all are answered.
func (s *scene) submitQuiet(ctx context.Context, calls, events int) error {
	var g errgroup.Group
	for i := range calls {
		api := i % apis
		m := s.begin(quiet, api, events)
		g.Go(func() error {
			s.mutate(ctx, s.clients[quiet][api], m)
			if m.refusal != "" {
				return fmt.Errorf("an event of the quiet tenant was answered %s", m.refusal)
			}
			return nil
		})
	}
	return g.Wait()
}

// catch gives the quiet tenant some deliveries and returns the worker, but for one,
// that has most of them in flight. When that one has got them all, it tries again.
func (s *scene) catch(ctx context.Context, but *stage.Service) (*stage.Service, error) {
	for range catchTries {
		if err := s.submitQuiet(ctx, quietEvents, 1); err != nil {
			return nil, err
		}
		for end := time.Now().Add(catchLimit); time.Now().Before(end); {
			victim, err := s.busiest(ctx, but)
			if victim != nil || err != nil {
				return victim, err
			}
			if err := wait(ctx, catchEvery); err != nil {
				return nil, err
			}
		}
	}
	return nil, errors.New("no worker was caught with the quiet tenant's deliveries in flight")
}

// busiest is the worker, but for one, that has most of the quiet tenant's deliveries
// in flight; nil when none has any.
func (s *scene) busiest(ctx context.Context, but *stage.Service) (victim *stage.Service, err error) {
	most := 0
	for _, w := range s.workers {
		if w == but {
			continue
		}
		tries, err := s.inFlight(ctx, w, quiet)
		if err != nil {
			return nil, err
		}
		if len(tries) > most {
			victim, most = w, len(tries)
		}
	}
	return victim, nil
}

// relayAndVictim are the worker that repairs for all, and another one that has
// something of the quiet tenant's in flight.
func (s *scene) relayAndVictim(ctx context.Context) (relay, victim *stage.Service, err error) {
	if relay, err = s.relay(ctx); err != nil {
		return nil, nil, err
	}
	victim, err = s.catch(ctx, relay)
	return relay, victim, err
}

// needRelay is an error when a victim, dead or frozen, left nothing behind that a
// relay is needed for: the row would show nothing.
func (s *scene) needRelay(ctx context.Context, victim *stage.Service) error {
	tries, err := s.inFlight(ctx, victim, quiet)
	if err == nil && len(tries) == 0 {
		err = errors.New("the victim had nothing of the quiet tenant's in flight any more")
	}
	return err
}

// bells counts the tasks that wait in Redis for a worker.
func (s *scene) bells(ctx context.Context) (n int64, err error) {
	for _, q := range tasks.AllQueues() {
		waiting, err := s.system.Redis.LLen(ctx, "asynq:{"+string(q)+"}:pending").Result()
		if err != nil {
			return 0, fmt.Errorf("counting bells: %w", err)
		}
		n += waiting
	}
	return n, nil
}
