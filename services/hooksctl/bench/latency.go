package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	warmUp             = 20
	minPause, maxPause = 30 * time.Millisecond, 50 * time.Millisecond
)

// latency measures the way of a lone event through an idle system.
func (s *suite) latency(ctx context.Context) error {
	s.log.InfoContext(ctx, "idle latency", "mutations", s.mutations)
	return s.withSystem(ctx, "latency", func(y *stage.System) error {
		ids, err := makeHooks(ctx, y, s.receiver.URL("/"))
		if err != nil {
			return err
		}
		api, err := started(ctx, y.API)
		if err != nil {
			return err
		}
		if _, err := started(ctx, y.Worker); err != nil {
			return err
		}
		if _, err := s.dispatchSlowly(ctx, y, api, ids, warmUp); err != nil {
			return err
		}
		sent, err := s.dispatchSlowly(ctx, y, api, ids, s.mutations)
		if err != nil {
			return err
		}
		return s.meet(ctx, sent)
	})
}

// dispatched is a mutation that was answered.
type dispatched struct {
	delivery webhook.DeliveryID
	took     time.Duration
	answered time.Time
}

func (s *suite) dispatchSlowly(ctx context.Context, y *stage.System, api *stage.Service, ids []webhook.WebhookID, n int) ([]dispatched, error) {
	if err := s.receiver.Reset(ctx); err != nil {
		return nil, err
	}
	e, err := event(0)
	if err != nil {
		return nil, err
	}
	client, err := y.Client(api, e.Tenant, 1)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var sent []dispatched
	for range n {
		d, err := dispatchOne(ctx, client, submission(e), ids[0])
		if err != nil {
			return nil, err
		}
		sent = append(sent, d)
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
	awaiting, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	_, err = s.receiver.Await(awaiting, n)
	return sent, err
}

// dispatchOne dispatches an event that owes one delivery, to hook.
func dispatchOne(ctx context.Context, client *apiclient.Client, e apiclient.Event, hook webhook.WebhookID) (dispatched, error) {
	began := time.Now()
	accepted, err := client.Dispatch(ctx, e)
	if err != nil {
		return dispatched{}, err
	}
	answered := time.Now()
	id, err := webhook.ParseEventID(accepted.EventID)
	return dispatched{webhook.DeliveryIDFor(id, hook), answered.Sub(began), answered}, err
}

func pause(ctx context.Context) error {
	return wait(ctx, minPause+rand.N(maxPause-minPause)) //nolint:gosec // no secret
}

func wait(ctx context.Context, span time.Duration) error {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// meet brings mutations and arrivals together.
func (s *suite) meet(ctx context.Context, sent []dispatched) error {
	arrivals, err := s.receiver.Arrivals(ctx)
	if err != nil {
		return err
	}
	if err := checkOnce(arrivals, len(sent)); err != nil {
		return err
	}
	delivery, mutation, missing := waits(sent, arrivals, time.Now())
	if missing > 0 {
		return fmt.Errorf("%d deliveries did not come", missing)
	}
	s.report.Latency = &latencyFigures{Delivery: newQuantiles(delivery), Mutation: newQuantiles(mutation)}
	return nil
}
