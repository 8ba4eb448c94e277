package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	// healthyHook is the number of the webhook that must not notice the others;
	// its tenant has no other.
	healthyHook  = 1
	healthyEvery = time.Second / 20
	healthyConns = 16
	healthyWarm  = 2 * time.Second
	settleEvery  = 50 * time.Millisecond
	// settleLimit is how long the last events are waited for.
	settleLimit = 10 * time.Second
)

// healthy is a tenant whose one receiver answers at once, and who has events all
// the time.
type healthy struct {
	suite  *suite
	system *stage.System
	client *apiclient.Client
	hook   webhook.WebhookID
	event  apiclient.Event
}

// newHealthy warms up, too. Close must follow.
func (s *suite) newHealthy(ctx context.Context, y *stage.System, api *stage.Service) (*healthy, error) {
	hook, err := s.makeHook(ctx, y, healthyHook, "/", webhook.DefaultPolicy())
	if err != nil {
		return nil, err
	}
	e, err := event(healthyHook)
	if err != nil {
		return nil, err
	}
	client, err := y.Client(api, e.Tenant, healthyConns)
	if err != nil {
		return nil, err
	}
	h := &healthy{suite: s, system: y, client: client, hook: hook, event: submission(e)}
	if _, err := h.forSpan(ctx, healthyWarm); err != nil {
		client.Close()
		return nil, err
	}
	return h, nil
}

// Close gives connections back.
func (h *healthy) Close() { h.client.Close() }

// forSpan measures for a while.
func (h *healthy) forSpan(ctx context.Context, span time.Duration) (healthyFigures, error) {
	until, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	return h.until(ctx, until)
}

// until dispatches until a context ends, whatever became of earlier calls, waits
// for what is owed, and tells how long the deliveries took from the mutation's
// answer to the arrival.
func (h *healthy) until(ctx, until context.Context) (healthyFigures, error) {
	sent, refusals, err := h.dispatch(ctx, until)
	if err != nil {
		return healthyFigures{}, err
	}
	settling, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	if err := settle(settling, h.system, h.hook); err != nil && settling.Err() == nil {
		return healthyFigures{}, err
	}
	arrivals, err := h.suite.receiver.Arrivals(ctx)
	if err != nil {
		return healthyFigures{}, err
	}
	delivery, mutation, missing := waits(sent, arrivals, time.Now())
	return healthyFigures{
		Events: len(sent), Refused: refusals, Missing: missing, Delivery: newQuantiles(delivery), Mutation: newQuantiles(mutation),
	}, nil
}

func (h *healthy) dispatch(ctx, until context.Context) (sent []dispatched, refusals int, err error) {
	ticker := time.NewTicker(healthyEvery)
	defer ticker.Stop()
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil, 0, errors.Join(g.Wait(), context.Cause(ctx))
		case <-until.Done():
			err := g.Wait()
			return sent, refusals, err
		case <-ticker.C:
		}
		g.Go(func() error {
			d, err := dispatchOne(ctx, h.client, h.event, h.hook)
			mu.Lock()
			defer mu.Unlock()
			if refused(err) {
				refusals++
				return nil
			}
			sent = append(sent, d)
			return err
		})
	}
}

// settle waits until nothing is owed to webhooks any more.
func settle(ctx context.Context, y *stage.System, hooks ...webhook.WebhookID) error {
	ticker := time.NewTicker(settleEvery)
	defer ticker.Stop()
	for len(hooks) > 0 {
		var some bool
		err := y.DB.GetContext(ctx, &some, `SELECT EXISTS (SELECT FROM pending_deliveries WHERE webhook_id = $1)`, hooks[0].UUID())
		if err != nil {
			return fmt.Errorf("asking what a webhook is owed: %w", err)
		}
		if !some {
			hooks = hooks[1:]
			continue
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("a webhook is still owed something: %w", context.Cause(ctx))
		}
	}
	return nil
}

// waits brings mutations and arrivals together: how long each delivery took from
// the mutation's answer to its first arrival, and how long the mutation. What has
// not come has taken until now, and is missing.
func waits(sent []dispatched, arrivals []stage.Arrival, now time.Time) (delivery, mutation []time.Duration, missing int) {
	at := make(map[string]time.Time, len(arrivals))
	for _, a := range arrivals {
		if first, seen := at[a.Delivery]; !seen || a.At().Before(first) {
			at[a.Delivery] = a.At()
		}
	}
	for _, d := range sent {
		came, ok := at[d.delivery.String()]
		if !ok {
			came = now
			missing++
		}
		delivery, mutation = append(delivery, came.Sub(d.answered)), append(mutation, d.took)
	}
	return delivery, mutation, missing
}
