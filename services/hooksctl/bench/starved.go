package main

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	// loudHook numbers the tenant, and its first webhook, that the healthy one
	// must not notice.
	loudHook = 2
	// fairWorkers share the windows of all webhooks, and neither knows the other.
	fairWorkers = 2
	// parkCalls is how many clients hand a backlog in.
	parkCalls = 2
	// burstHooks share a burst, burstCalls clients submit it.
	burstHooks = 10
	burstCalls = 4
	burstCall  = 1000
	// burstLimit bounds how long a burst's deliveries are waited for.
	burstLimit = 3 * time.Minute
)

// What the requests to two of the starved row's webhooks are called.
const hangs, slow = "hangs", "slow"

// starved measures a healthy webhook beside three of another tenant that are
// owed much: one hangs until its timeout, one answers 500, one after 3 s.
func (s *suite) starved(ctx context.Context) error {
	s.log.InfoContext(ctx, "starved", "owed_to_each", s.owed)
	return s.besideOthers(ctx, "starved", func(y *stage.System, api *stage.Service, h *healthy) (err error) {
		figures := starvedFigures{Owed: s.owed}
		if figures.Alone, err = h.forSpan(ctx, s.watching); err != nil {
			return err
		}
		policy := webhook.DefaultPolicy()
		policy.MaxAttempts = webhook.MaxMaxAttempts // so that there is no end of it
		for _, path := range []string{"/hang?" + hangs, "/refuse", "/slow/3000?" + slow} {
			if _, err := s.makeHook(ctx, y, loudHook, path, policy); err != nil {
				return err
			}
		}
		if err := s.submit(ctx, y, api, backlog{hook: loudHook, types: 1, events: s.owed, call: parkBatch, calls: parkCalls}); err != nil {
			return err
		}
		if err := s.receiver.Reset(ctx); err != nil {
			return err
		}
		if figures.Beside, err = h.forSpan(ctx, s.watching); err != nil {
			return err
		}
		arrivals, err := s.receiver.Arrivals(ctx)
		figures.Hanging, figures.Slow = mostAtOnce(arrivals, named(hangs)), mostAtOnce(arrivals, named(slow))
		s.report.Starved = &figures
		return err
	})
}

// burst measures a healthy webhook while another tenant submits very much at once,
// until that is delivered.
func (s *suite) burst(ctx context.Context) error {
	s.log.InfoContext(ctx, "burst", "events", s.bursting)
	return s.besideOthers(ctx, "burst", func(y *stage.System, api *stage.Service, h *healthy) error {
		var loud [burstHooks]webhook.WebhookID
		for i := range loud {
			var err error
			if loud[i], err = s.makeHook(ctx, y, loudHook+i*tenants, "/", webhook.DefaultPolicy()); err != nil {
				return err
			}
		}
		if err := s.receiver.Reset(ctx); err != nil {
			return err
		}
		figures := burstFigures{Events: s.bursting}
		during, over := context.WithTimeout(ctx, burstLimit)
		defer over()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() (err error) {
			figures.Beside, err = h.until(ctx, during)
			return err
		})
		g.Go(func() error {
			defer over()
			began := time.Now()
			if err := s.submit(ctx, y, api, backlog{hook: loudHook, types: burstHooks, events: s.bursting, call: burstCall, calls: burstCalls}); err != nil {
				return err
			}
			figures.Accepted = float64(s.bursting) / time.Since(began).Seconds()
			if err := settle(during, y, loud[:]...); err != nil {
				return err
			}
			figures.Delivered = float64(s.bursting) / time.Since(began).Seconds()
			return nil
		})
		err := g.Wait()
		s.report.Burst = &figures
		return err
	})
}

// besideOthers starts an api, two workers and the healthy tenant's load.
func (s *suite) besideOthers(ctx context.Context, name string, f func(*stage.System, *stage.Service, *healthy) error) error {
	return s.withSystem(ctx, name, func(y *stage.System) error {
		if err := s.prepare(ctx); err != nil {
			return err
		}
		api, err := started(ctx, y.API)
		if err != nil {
			return err
		}
		for range fairWorkers {
			if _, err := started(ctx, y.Worker); err != nil {
				return err
			}
		}
		h, err := s.newHealthy(ctx, y, api)
		if err != nil {
			return err
		}
		defer h.Close()
		return f(y, api, h)
	})
}

// makeHook makes a webhook of a number, for events of its own type.
func (s *suite) makeHook(ctx context.Context, y *stage.System, hook int, path string, policy webhook.Policy) (webhook.WebhookID, error) {
	return y.CreateWebhook(ctx, stage.Hook{Tenant: tenantOf(hook), URL: s.receiver.URL(path), Pattern: typeOf(hook), Policy: policy})
}

// backlog is a number of events of one tenant, of as many types as its webhooks
// hook, hook+tenants, and so on; clients submit them in calls of a size.
type backlog struct{ hook, types, events, call, calls int }

// submit has a backlog accepted by an api.
func (s *suite) submit(ctx context.Context, y *stage.System, api *stage.Service, b backlog) error {
	all := make([]apiclient.Event, b.events)
	for i := range all {
		e, err := event(b.hook + i%b.types*tenants)
		if err != nil {
			return err
		}
		all[i] = submission(e)
	}
	client, err := y.Client(api, tenantOf(b.hook), b.calls)
	if err != nil {
		return err
	}
	defer client.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(b.calls)
	for len(all) > 0 {
		batch := all[:min(b.call, len(all))]
		all = all[len(batch):]
		g.Go(func() error {
			_, _, err := client.DispatchAll(ctx, batch)
			for refused(err) && ctx.Err() == nil { // as clients do
				_, _, err = client.DispatchAll(ctx, batch)
			}
			return err
		})
	}
	return g.Wait()
}

// refused tells whether the api asks to try again.
func refused(err error) bool { return err != nil && strings.Contains(err.Error(), "UNAVAILABLE") }
