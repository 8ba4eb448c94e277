package deliver

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Handle answers a bell when everything it rang for is recorded.
func (e *Engine) Handle(ctx context.Context, b tasks.Bell) (tasks.Answer, error) {
	outcomes, err := e.Deliver(ctx, b)
	if err != nil || !b.Own || outcomes[0] == nil || outcomes[0].Claim.Kind == webhook.KindTest {
		return tasks.Answer{}, err
	}
	o := outcomes[0]
	switch o.Next.Status {
	case webhook.Retrying:
		now := e.cfg.Now()
		at := now.Add(o.Next.Delay)
		if !e.timers.add(o.Claim.Webhook, now, at) {
			return tasks.Answer{}, nil // it waits in PostgreSQL, where it is found when due
		}
		return tasks.Answer{RetryAt: at, Error: o.Attempt.Error}, nil
	case webhook.Failed:
		return tasks.Answer{Exhausted: true, Error: o.Attempt.Error}, nil
	default:
		return tasks.Answer{}, nil
	}
}
