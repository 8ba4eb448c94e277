package graph

import (
	"context"
	"errors"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// StatsReader counts deliveries.
type StatsReader interface {
	// Stats counts the tenant's deliveries, or those of one webhook.
	Stats(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, p webhook.Period) (webhook.Stats, error)
	// StatsByWebhook does so for several at the cost of one; those without any
	// deliveries may be left out.
	StatsByWebhook(ctx context.Context, tenant webhook.TenantID, hooks []webhook.WebhookID, p webhook.Period) (map[webhook.WebhookID]webhook.Stats, error)
	// LogSize counts the tenant's deliveries, but not beyond most.
	LogSize(ctx context.Context, tenant webhook.TenantID, most int) (int, error)
}

// periodArgs are the arguments of statistics; what is absent is open.
type periodArgs struct {
	Since *timestamp
	Until *timestamp
}

func (a periodArgs) period() (webhook.Period, error) {
	var p webhook.Period
	if a.Since != nil {
		p.Since = a.Since.Time
	}
	if a.Until != nil {
		p.Until = a.Until.Time
	}
	if a.Since != nil && a.Until != nil && p.Since.After(p.Until) {
		return p, webhook.Invalid("since", "must not be after until")
	}
	return p, nil
}

// stats is the type WebhookStats.
type stats struct {
	Total             int32
	Pending           int32
	Retrying          int32
	Succeeded         int32
	Failed            int32
	SuccessRate       *float64
	AverageDurationMs *float64
	P95DurationMs     *float64
}

// WebhookStats answers how deliveries fared. An id that names no webhook of the
// tenant has no deliveries.
func (q *query) WebhookStats(ctx context.Context, args struct {
	WebhookID *identifier
	periodArgs
}) (stats, error) {
	principal, err := enter(ctx, opWebhookStats)
	if err != nil {
		return stats{}, err
	}
	if args.WebhookID == nil {
		return q.stats(ctx, principal.Tenant, nil, args.periodArgs)
	}
	// A malformed id is the zero id, which no webhook has.
	id, _ := parsed(*args.WebhookID, webhook.ParseWebhookID)
	return q.stats(ctx, principal.Tenant, &id, args.periodArgs)
}

func (a *api) stats(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, args periodArgs) (stats, error) {
	period, err := args.period()
	if err != nil {
		return stats{}, a.fail(ctx, err)
	}
	if hook != nil && hook.IsZero() {
		return stats{}, nil
	}
	if err := a.spendScan(ctx, tenant, 1); err != nil {
		return stats{}, a.fail(ctx, err)
	}
	counted, err := a.Management.Stats(ctx, tenant, hook, period)
	if err != nil && !errors.Is(err, webhook.ErrNotFound) {
		return stats{}, a.fail(ctx, err)
	}
	return showStats(counted), nil
}

func showStats(s webhook.Stats) stats {
	return stats{
		Total:             count(s.Total),
		Pending:           count(s.Pending),
		Retrying:          count(s.Retrying),
		Succeeded:         count(s.Succeeded),
		Failed:            count(s.Failed),
		SuccessRate:       s.SuccessRate(),
		AverageDurationMs: milliseconds(s.AverageDuration),
		P95DurationMs:     milliseconds(s.P95Duration),
	}
}

func milliseconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	ms := float64(*d) / float64(time.Millisecond)
	return &ms
}
