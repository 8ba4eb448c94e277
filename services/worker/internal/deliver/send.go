package deliver

import (
	"context"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// recordReserve is the end of a lease that is kept for recording: a request
// that could end later than that is not made any more.
const recordReserve = 2 * time.Second

// sendAll sends until there are no more jobs, on a stack that has grown to its task.
func (e *Engine) sendAll() {
	for j := range e.jobs {
		e.send(j.claim, j.ticket)
	}
}

// send makes the request of a claim and passes the outcome on, without what was
// sent: that takes a slot, and the outcome only a place.
func (e *Engine) send(c webhook.Claim, t *ticket) {
	defer e.giveBack(partyOf(c.Owed))
	settledHere := true // otherwise the recorder does it
	defer func() {
		if settledHere {
			e.dealtWith([]settled{{Outcome: webhook.Outcome{Claim: c}}})
		}
	}()
	if c.Fault != nil {
		e.metrics.faults.Inc()
		e.release(c, t, "it cannot be sent", c.Fault)
		return
	}
	if !e.leaseLasts(c) {
		e.release(c, t, "the lease is too short to send", nil)
		return
	}
	if !e.endsInTime(c.Policy.Timeout) {
		e.release(c, t, "the worker is stopping", nil)
		return
	}
	attempt, err := e.cfg.Sender.Send(context.Background(), request(c))
	if err != nil {
		e.release(c, t, "the request was broken off", nil)
		return
	}
	next := webhook.Decide(c.Policy, attempt, c.LastAttempt, e.cfg.Jitter())
	settledHere = false
	c.Body, c.Headers, c.Secrets = "", nil, nil
	e.records[c.Webhook.Hash(recorders)].in <- settled{Outcome: webhook.Outcome{Claim: c, Attempt: attempt, Next: next}, ticket: t}
}

// leaseLasts reports whether a request made now would end, and be recorded,
// within the lease. A process that was frozen learns here that its claims have
// gone to others (I3).
func (e *Engine) leaseLasts(c webhook.Claim) bool {
	return e.cfg.Now().Sub(c.ClaimedAt)+c.Policy.Timeout+recordReserve < c.Lease
}

func request(c webhook.Claim) sender.Request {
	eventType, _ := webhook.ParseEventType(c.EventType) // it was parsed when it was accepted
	return sender.Request{
		Delivery: c.Delivery, Event: c.Event, EventType: eventType, Attempt: c.Attempt,
		URL: c.URL, Headers: c.Headers, Secrets: c.Secrets, Body: c.Body,
		Timeout: c.Policy.Timeout, TraceParent: c.TraceParent,
	}
}
