package deliver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// maxRecord bounds one statement.
	maxRecord = 500
	// linger is how long a batch waits for company while other requests are in
	// flight: a commit costs the same for one outcome as for a hundred.
	linger = 4 * time.Millisecond

	minRecordBackoff = 50 * time.Millisecond
	maxRecordBackoff = time.Second
)

// recordAll records outcomes until their channel is closed.
func (e *Engine) recordAll(ctx context.Context) {
	for first := range e.outcome {
		batch := e.gather(first)
		e.metrics.batch.Observe(float64(len(batch)))
		e.record(ctx, batch)
		e.unsettled.Add(-len(batch))
	}
}

// gather collects what has come, and waits a little for more when more is to
// be expected.
func (e *Engine) gather(first settled) []settled {
	batch := []settled{first}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for len(batch) < maxRecord {
		select {
		case s, ok := <-e.outcome:
			if !ok {
				return batch
			}
			batch = append(batch, s)
			continue
		default:
		}
		if e.inFlight() == 0 {
			return batch
		}
		select {
		case s, ok := <-e.outcome:
			if !ok {
				return batch
			}
			batch = append(batch, s)
		case <-timer.C:
			return batch
		}
	}
	return batch
}

// record commits a batch and goes on with what that set free. While PostgreSQL
// is away it keeps trying: an outcome that is forgotten is a request repeated.
func (e *Engine) record(ctx context.Context, batch []settled) {
	for backoff := minRecordBackoff; ; backoff = min(2*backoff, maxRecordBackoff) {
		adm, err := e.recordOnce(ctx, batch)
		switch {
		case err == nil:
			e.conclude(ctx, batch, adm)
			return
		case !errors.Is(err, webhook.ErrUnavailable):
			e.recordApart(ctx, batch, err)
			return
		case e.allLeasesOver(batch):
			e.giveUp(ctx, batch, err)
			return
		}
		e.cfg.Log.WarnContext(ctx, "outcomes not recorded yet, trying again", obs.Count(len(batch)), obs.Err(err))
		timer := time.NewTimer(backoff)
		<-timer.C
	}
}

// recordOnce records a batch with as many slots for the next deliveries as
// nobody else is waiting for, and starts those.
func (e *Engine) recordOnce(ctx context.Context, batch []settled) (webhook.Admission, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	outcomes := make([]webhook.Outcome, len(batch))
	for i, s := range batch {
		outcomes[i] = s.Outcome
	}
	lease := e.reserve(len(batch))
	adm, err := e.cfg.Store.Record(ctx, outcomes, lease, e.holders.next())
	e.goOn(adm, lease) //nolint:contextcheck // a request outlives the statement that claimed it
	return adm, err
}

// goOn starts what was claimed into reserved slots and rings for the rest.
func (e *Engine) goOn(adm webhook.Admission, reserved int) {
	for _, c := range adm.Claimed {
		e.start(c, nil)
	}
	e.giveBack(reserved - len(adm.Claimed))
	e.cfg.Doorbell.Ring(adm.Rung)
	e.metrics.chained.Add(float64(len(adm.Claimed)))
}

// recordApart finds the outcome that PostgreSQL cannot take among its
// neighbours. Nothing a receiver answers should do that; should it happen, the
// outcome counts without its texts rather than not at all.
func (e *Engine) recordApart(ctx context.Context, batch []settled, cause error) {
	if len(batch) > 1 {
		for _, s := range batch {
			e.record(ctx, []settled{s})
		}
		return
	}
	s := batch[0]
	e.cfg.Log.ErrorContext(ctx, "outcome refused, recording it without the answer's texts",
		obs.Delivery(s.Claim.Delivery), obs.Attempt(s.Attempt.Number), obs.Err(cause))
	s.Attempt.ResponseHeaders, s.Attempt.ResponseBody = nil, ""
	if s.Attempt.ErrorClass != webhook.NoError {
		s.Attempt.Error = "unreadable"
	}
	adm, err := e.recordOnce(ctx, []settled{s})
	if err != nil {
		e.giveUp(ctx, []settled{s}, err)
		return
	}
	e.conclude(ctx, []settled{s}, adm)
}

func (e *Engine) allLeasesOver(batch []settled) bool {
	now := e.cfg.Now()
	for _, s := range batch {
		if now.Sub(s.Claim.ClaimedAt) < s.Claim.Lease {
			return false
		}
	}
	return true
}

// giveUp leaves deliveries to whoever claims them when their leases end.
func (e *Engine) giveUp(ctx context.Context, batch []settled, err error) {
	for _, s := range batch {
		e.cfg.Log.ErrorContext(ctx, "outcome not recorded, the attempt will be repeated",
			obs.Delivery(s.Claim.Delivery), obs.Attempt(s.Attempt.Number), obs.Err(err))
		e.answer(s.ticket, result{err: err})
	}
	e.metrics.lost.Add(float64(len(batch)))
}

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
			e.answer(s.ticket, result{})
			continue
		}
		e.tell(ctx, s)
		if s.Next.DisableWebhook {
			gone = append(gone, s.Claim.Webhook)
		}
	}
	if len(gone) > 0 {
		e.disable(ctx, gone)
	}
	if len(adm.Again) > 0 {
		e.admitAgain(ctx, adm.Again)
	}
}

// tell logs an attempt, answers its bell, or gives the delivery a bell of its own.
func (e *Engine) tell(ctx context.Context, s settled) {
	e.metrics.attempt(s.Attempt)
	e.logAttempt(ctx, s.Outcome)
	outcome := s.Outcome
	if s.ticket != nil {
		e.answer(s.ticket, result{outcome: &outcome})
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
	level, next := slog.LevelInfo, slog.Attr{}
	if o.Next.Status == webhook.Retrying {
		next = obs.Next(e.cfg.Now().Add(o.Next.Delay).UTC().Truncate(time.Millisecond))
	}
	e.cfg.Log.LogAttrs(obs.ContextWithRemote(ctx, o.Claim.TraceParent), level, "attempt",
		obs.Delivery(o.Claim.Delivery), obs.Event(o.Claim.Event), obs.Webhook(o.Claim.Webhook), obs.Tenant(o.Claim.Tenant),
		obs.EventType(o.Claim.EventType), obs.Attempt(o.Attempt.Number), slog.String("outcome", string(o.Next.Status)),
		obs.Status(o.Attempt.ResponseStatus), slog.String(obs.KeyErrorClass, string(o.Attempt.ErrorClass)),
		obs.Duration(o.Attempt.Duration), next)
}

// disable stops webhooks that answered 410. A crash before it does no harm: the
// next delivery is answered 410 again.
func (e *Engine) disable(ctx context.Context, hooks []webhook.WebhookID) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := e.cfg.Disabler.Disable(ctx, hooks, "the receiver answered 410 Gone"); err != nil {
		e.cfg.Log.WarnContext(ctx, "webhooks not disabled, their next 410 will", obs.Count(len(hooks)), obs.Err(err))
		return
	}
	for _, hook := range hooks {
		e.cfg.Log.InfoContext(ctx, "webhook disabled by 410", obs.Webhook(hook))
	}
}

// admitAgain looks once more at webhooks that gained deliveries while the
// recording statement waited for their locks. What it misses, the relay finds.
func (e *Engine) admitAgain(ctx context.Context, hooks []webhook.WebhookID) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	lease := e.reserve(len(hooks))
	adm, err := e.cfg.Store.Admit(ctx, hooks, lease, e.holders.next())
	e.goOn(adm, lease) //nolint:contextcheck // a request outlives the statement that claimed it
	if err != nil {
		e.cfg.Log.WarnContext(ctx, "lanes not looked at again, the relay will", obs.Count(len(hooks)), obs.Err(err))
	}
}
