package main

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	clients = 64
	// perCall is the size of a dispatchEvents.
	perCall = 100
)

// accept measures what one api takes in, while no worker competes with it for
// the processors.
func (s *suite) accept(ctx context.Context) error {
	s.log.InfoContext(ctx, "accepting")
	return s.withSystem(ctx, "accepting", func(y *stage.System) (err error) {
		if _, err := makeHooks(ctx, y, s.receiver.URL("/")); err != nil {
			return err
		}
		api, err := started(ctx, y.API)
		if err != nil {
			return err
		}
		var figures acceptFigures
		figures.Single, err = s.acceptBy(ctx, y, api, 1, func(ctx context.Context, c *apiclient.Client, e apiclient.Event) error {
			_, err := c.Dispatch(ctx, e)
			return err
		})
		if err != nil {
			return err
		}
		figures.Batch, err = s.acceptBy(ctx, y, api, perCall, func(ctx context.Context, c *apiclient.Client, e apiclient.Event) error {
			batch := make([]apiclient.Event, perCall)
			for i := range batch {
				batch[i] = e
			}
			_, _, err := c.DispatchAll(ctx, batch)
			return err
		})
		s.report.Accept = &figures
		return err
	})
}

type call func(context.Context, *apiclient.Client, apiclient.Event) error

// acceptBy lets all clients call as fast as they are answered.
func (s *suite) acceptBy(ctx context.Context, y *stage.System, api *stage.Service, size int, do call) (acceptRate, error) {
	if err := s.stage.Checkpoint(ctx); err != nil {
		return acceptRate{}, err
	}
	var mu sync.Mutex
	var took []time.Duration
	began := time.Now()
	postgresBefore, redisBefore := s.stage.ServerCPU()
	apiBefore := api.CPU()
	g, calling := errgroup.WithContext(ctx)
	for i := range clients {
		g.Go(func() error {
			own, err := s.callUntil(calling, y, api, i, began.Add(s.accepting), do)
			mu.Lock()
			defer mu.Unlock()
			took = append(took, own...)
			return err
		})
	}
	err := g.Wait()
	postgresAfter, redisAfter := s.stage.ServerCPU()
	c := cost{Process: api.CPU() - apiBefore, Postgres: postgresAfter - postgresBefore, Redis: redisAfter - redisBefore}
	return acceptRate{rate: newRate(len(took)*size, time.Since(began), c), Call: newQuantiles(took)}, err
}

// callUntil is one client; it returns how long each call took.
func (s *suite) callUntil(ctx context.Context, y *stage.System, api *stage.Service, i int, end time.Time, do call) ([]time.Duration, error) {
	e, err := event(i % hooks)
	if err != nil {
		return nil, err
	}
	client, err := y.Client(api, e.Tenant, 1)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var took []time.Duration
	for began := time.Now(); began.Before(end); began = time.Now() {
		if err := do(ctx, client, submission(e)); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}
