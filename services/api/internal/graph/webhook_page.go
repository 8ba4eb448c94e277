package graph

import (
	"context"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// webhookPage is the webhooks that were read together. Whichever of them is asked
// first for its statistics loads those of all: that costs the same.
type webhookPage struct {
	api    *api
	budget *budget
	tenant webhook.TenantID
	ids    []webhook.WebhookID

	mu    sync.Mutex
	stats map[[2]time.Time]*lazy[map[webhook.WebhookID]webhook.Stats]
}

func (a *api) showWebhook(ctx context.Context, w webhook.Webhook) *webhookConfig {
	return a.showWebhooks(ctx, []webhook.Webhook{w})[0]
}

func (a *api) showWebhooks(ctx context.Context, hooks []webhook.Webhook) []*webhookConfig {
	page := &webhookPage{api: a, budget: budgetOf(ctx), stats: map[[2]time.Time]*lazy[map[webhook.WebhookID]webhook.Stats]{}}
	out := make([]*webhookConfig, len(hooks))
	for i, w := range hooks {
		page.tenant, page.ids = w.Tenant, append(page.ids, w.ID)
		out[i] = page.show(w)
	}
	return out
}

// statsOf counts the deliveries of one webhook of the page.
func (p *webhookPage) statsOf(ctx context.Context, id webhook.WebhookID, period webhook.Period) (webhook.Stats, error) {
	all, err := p.loaded(period).get(func() (map[webhook.WebhookID]webhook.Stats, error) {
		if err := p.api.spendScan(ctx, p.tenant, min(2, len(p.ids))); err != nil {
			return nil, p.api.fail(ctx, err)
		}
		counted, err := p.api.Management.StatsByWebhook(ctx, p.tenant, p.ids, period)
		return counted, p.api.check(ctx, err)
	})
	return all[id], err
}

func (p *webhookPage) loaded(period webhook.Period) *lazy[map[webhook.WebhookID]webhook.Stats] {
	key := [2]time.Time{period.Since.UTC(), period.Until.UTC()}
	p.mu.Lock()
	defer p.mu.Unlock()
	l, ok := p.stats[key]
	if !ok {
		l = &lazy[map[webhook.WebhookID]webhook.Stats]{}
		p.stats[key] = l
	}
	return l
}
