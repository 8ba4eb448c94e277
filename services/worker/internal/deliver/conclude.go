package deliver

import (
	"context"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// conclude tells everybody who wants to know about a recorded batch.
func (e *Engine) conclude(ctx context.Context, batch []settled, adm webhook.Admission) {
	lost := make(map[webhook.DeliveryID]bool, len(adm.Lost))
	for _, id := range adm.Lost {
		lost[id] = true
	}
	var gone []webhook.WebhookID
	for _, s := range batch {
		if lost[s.Claim.Delivery] {
			e.metrics.lost.Inc()
			e.cfg.Log.WarnContext(ctx, "outcome came after its lease had ended, dropped",
				obs.Delivery(s.Claim.Delivery), obs.Attempt(s.Attempt.Number))
			s.ticket.answer(result{})
			continue
		}
		e.tell(ctx, s)
		if s.Next.DisableWebhook && s.Claim.Kind == webhook.KindEvent {
			gone = append(gone, s.Claim.Webhook)
		}
	}
	if len(gone) > 0 {
		e.disable(ctx, gone)
	}
	tenants := make(map[webhook.WebhookID]webhook.TenantID, len(batch))
	for _, s := range batch {
		tenants[s.Claim.Webhook] = s.Claim.Tenant
	}
	e.admitAgain(ctx, adm.Again, tenants)
}

// tell logs an attempt, answers its bell, or gives the delivery a bell of its own.
func (e *Engine) tell(ctx context.Context, s settled) {
	e.metrics.attempt(s.Attempt)
	e.logAttempt(ctx, s.Outcome)
	outcome := s.Outcome
	if s.ticket != nil {
		s.ticket.answer(result{outcome: &outcome})
		if s.ticket.own {
			return
		}
	}
	if s.Next.Status == webhook.Succeeded || s.Claim.Kind == webhook.KindTest {
		return
	}
	owed := s.Claim.Owed
	if s.Next.Status == webhook.Failed {
		e.cfg.Doorbell.RingOwn(owed, time.Time{}, s.Attempt.Error, true)
		return
	}
	now := e.cfg.Now()
	if at := now.Add(s.Next.Delay); e.timers.add(owed.Webhook, now, at) {
		owed.Attempt++
		e.cfg.Doorbell.RingOwn(owed, at, s.Attempt.Error, false)
	}
}

// logAttempt writes the one canonical line of an attempt.
func (e *Engine) logAttempt(ctx context.Context, o webhook.Outcome) {
	var next, blocked slog.Attr
	if o.Next.Status == webhook.Retrying {
		next = obs.Next(e.cfg.Now().Add(o.Next.Delay).UTC().Truncate(time.Millisecond))
	}
	if o.Attempt.BlockedAddress != "" {
		blocked = slog.String(obs.KeyBlocked, o.Attempt.BlockedAddress)
	}
	e.cfg.Log.LogAttrs(obs.ContextWithRemote(ctx, o.Claim.TraceParent), slog.LevelInfo, "attempt",
		obs.Delivery(o.Claim.Delivery), obs.Event(o.Claim.Event), obs.Webhook(o.Claim.Webhook), obs.Tenant(o.Claim.Tenant),
		obs.EventType(o.Claim.EventType), obs.Attempt(o.Attempt.Number), slog.String("outcome", string(o.Next.Status)),
		obs.Status(o.Attempt.ResponseStatus), slog.String(obs.KeyErrorClass, string(o.Attempt.ErrorClass)),
		obs.Duration(o.Attempt.Duration), next, blocked)
}

// disable stops webhooks that answered 410. Their lanes are quiet since that was
// recorded: when it fails, or this process dies before it, nothing is sent to them,
// and the relay does it.
func (e *Engine) disable(ctx context.Context, hooks []webhook.WebhookID) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	disabled, err := e.cfg.Disabler.DisableGone(ctx, hooks)
	if err != nil {
		e.cfg.Log.WarnContext(ctx, "webhooks that answered 410 not disabled, the relay will", obs.Count(len(hooks)), obs.Err(err))
	}
	for _, hook := range disabled {
		e.cfg.Log.InfoContext(ctx, "webhook disabled by 410", obs.Webhook(hook))
	}
}
