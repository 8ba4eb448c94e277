package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	hangingHooks = 10
	parkBatch    = 500
	sampleEvery  = 250 * time.Millisecond
	// impatience makes attempts time out while we watch, so that retries gather
	// in Redis as far as they may.
	impatience = time.Second
)

// memory measures what a backlog costs: webhooks whose receiver hangs until the
// timeout, time and again, with many deliveries behind each.
func (s *suite) memory(ctx context.Context) error {
	s.log.InfoContext(ctx, "memory", "deliveries", s.parked)
	return s.withSystem(ctx, "memory", func(y *stage.System) error {
		policy := webhook.DefaultPolicy()
		policy.MaxAttempts, policy.Timeout = webhook.MaxMaxAttempts, impatience
		for range hangingHooks {
			h := stage.Hook{Tenant: tenantOf(0), URL: s.receiver.URL("/hang"), Pattern: "*", Policy: policy}
			if _, err := y.CreateWebhook(ctx, h); err != nil {
				return err
			}
		}
		api, err := started(ctx, y.API)
		if err != nil {
			return err
		}
		worker, err := started(ctx, y.Worker)
		if err != nil {
			return err
		}
		if err := s.park(ctx, y, api); err != nil {
			return err
		}
		return s.watch(ctx, y, api, worker)
	})
}

// park has events accepted that each owe a delivery to every hanging webhook.
func (s *suite) park(ctx context.Context, y *stage.System, api *stage.Service) error {
	e, err := event(0)
	if err != nil {
		return err
	}
	client, err := y.Client(api, e.Tenant, 1)
	if err != nil {
		return err
	}
	defer client.Close()
	batch := make([]apiclient.Event, parkBatch)
	for i := range batch {
		batch[i] = submission(e)
	}
	for owed := 0; owed < s.parked; {
		_, n, err := client.DispatchAll(ctx, batch)
		if err != nil {
			return err
		}
		owed += n
	}
	return nil
}

// watch samples for a while and keeps the most that was seen.
func (s *suite) watch(ctx context.Context, y *stage.System, api, worker *stage.Service) error {
	ctx, cancel := context.WithTimeout(ctx, s.parking)
	defer cancel()
	ticker := time.NewTicker(sampleEvery)
	defer ticker.Stop()
	m := new(memoryFigures)
	s.report.Memory = m
	for {
		pending, err := y.Pending(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		redis, err := usedMemory(context.WithoutCancel(ctx), y)
		if err != nil {
			return err
		}
		m.Parked, m.Redis = pending, max(m.Redis, redis)
		m.API, m.Worker = api.Memory(), worker.Memory()
		select {
		case <-ctx.Done():
			if pending < s.parked {
				return fmt.Errorf("%d deliveries are parked, not %d", pending, s.parked)
			}
			return nil
		case <-ticker.C:
		}
	}
}

func usedMemory(ctx context.Context, y *stage.System) (int64, error) {
	info, err := y.Redis.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("asking Redis: %w", err)
	}
	for line := range strings.SplitSeq(info, "\r\n") {
		if value, found := strings.CutPrefix(line, "used_memory:"); found {
			return strconv.ParseInt(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("redis does not say what it uses")
}
