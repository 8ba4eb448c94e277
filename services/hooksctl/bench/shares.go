package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	oneHook  = 3
	manyHook = 4
	// each answer of the shares row takes sharesAnswer, so that slots are what is
	// scarce, and not processors.
	sharesAnswer = time.Second
	sharesURL    = "/slow/1000?"
	// sharesDepth is how much each webhook is owed: more than it can get.
	sharesDepth = 300
	// defaultWindow is HOOKS_ENDPOINT_CONCURRENCY's default.
	defaultWindow = 10
)

// shares measures what a tenant with one webhook gets beside one with as many as
// there may be, each with a backlog, and what a third one notices of it.
func (s *suite) shares(ctx context.Context) error {
	s.log.InfoContext(ctx, "shares", "webhooks", webhook.MaxWebhooksPerTenant)
	return s.besideOthers(ctx, "shares", func(y *stage.System, api *stage.Service, h *healthy) (err error) {
		one, err := s.shareHooks(ctx, y, oneHook, 1)
		if err != nil {
			return err
		}
		many, err := s.shareHooks(ctx, y, manyHook, webhook.MaxWebhooksPerTenant)
		if err != nil {
			return err
		}
		for _, hook := range []int{manyHook, oneHook} { // the many first: they hold all that they can get
			if err := s.submit(ctx, y, api, backlog{hook: hook, types: 1, events: sharesDepth, call: sharesDepth / 6, calls: 1}); err != nil {
				return err
			}
		}
		before, err := delivered(ctx, y)
		if err != nil {
			return err
		}
		began := time.Now()
		figures := sharesFigures{Webhooks: len(many), Window: defaultWindow * sharesAnswer.Seconds()}
		var after map[string]int
		var took time.Duration
		g, watching := errgroup.WithContext(ctx)
		g.Go(func() (err error) {
			figures.Beside, err = h.forSpan(watching, s.watching)
			return err
		})
		g.Go(func() (err error) {
			if err := wait(watching, s.watching); err != nil {
				return err
			}
			after, err = delivered(watching, y)
			took = time.Since(began)
			return err
		})
		if err := g.Wait(); err != nil {
			return err
		}
		figures.One = newShare(one, before, after, took)
		figures.Many = newShare(many, before, after, took)
		s.report.Shares = &figures
		return s.crowds(ctx, &figures)
	})
}

// crowds finds out how many requests were in flight at once.
func (s *suite) crowds(ctx context.Context, figures *sharesFigures) error {
	arrivals, err := s.receiver.Arrivals(ctx)
	if err != nil {
		return err
	}
	of := func(hook int) func(string) bool {
		return func(name string) bool { return strings.HasPrefix(name, shareName(hook, "")) }
	}
	figures.AllOfMany = mostAtOnce(arrivals, of(manyHook))
	figures.AWebhook = mostAtOnce(arrivals, named(shareName(oneHook, "0")))
	for i := range figures.Webhooks {
		figures.AWebhook = max(figures.AWebhook, mostAtOnce(arrivals, named(shareName(manyHook, strconv.Itoa(i)))))
	}
	return nil
}

// shareName is what requests to a tenant's webhook are called.
func shareName(hook int, number string) string { return strconv.Itoa(hook) + "-" + number }

func (s *suite) shareHooks(ctx context.Context, y *stage.System, hook, n int) ([]webhook.WebhookID, error) {
	ids := make([]webhook.WebhookID, n)
	for i := range ids {
		var err error
		if ids[i], err = s.makeHook(ctx, y, hook, sharesURL+shareName(hook, strconv.Itoa(i)), webhook.DefaultPolicy()); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// delivered counts successes by webhook.
func delivered(ctx context.Context, y *stage.System) (map[string]int, error) {
	var rows []struct {
		Webhook string `db:"webhook_id"`
		N       int    `db:"n"`
	}
	err := y.DB.SelectContext(ctx, &rows, `SELECT webhook_id, count(*) AS n FROM deliveries WHERE status = 'success' GROUP BY webhook_id`)
	if err != nil {
		return nil, fmt.Errorf("counting what was delivered: %w", err)
	}
	counts := make(map[string]int, len(rows))
	for _, row := range rows {
		counts[row.Webhook] = row.N
	}
	return counts, nil
}

func newShare(hooks []webhook.WebhookID, before, after map[string]int, took time.Duration) share {
	var sum, least, most int
	for i, id := range hooks {
		n := after[id.UUID()] - before[id.UUID()]
		sum += n
		if i == 0 {
			least = n
		}
		least, most = min(least, n), max(most, n)
	}
	perSecond := func(n int) float64 { return float64(n) / took.Seconds() }
	return share{PerSecond: perSecond(sum), Least: perSecond(least), Most: perSecond(most)}
}
