package manage

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// patience is what a test may take beyond its receiver's timeout: to reach a
	// worker, and to be recorded.
	patience = 2 * time.Second
	// lastLook is the end of it, kept for a request that is under way when the
	// test is called off.
	lastLook = 250 * time.Millisecond

	// shortest is what an exchange took that is recorded as 0 ms.
	shortest = time.Microsecond

	// The outcome is looked for often at first: most receivers are quick.
	firstPause, maxPause = 10 * time.Millisecond, 100 * time.Millisecond
)

// TestResult is how a test send went.
type TestResult struct {
	Success        bool
	ResponseStatus int           // 0: no answer
	Duration       time.Duration // of the exchange; 0: none was made
	Error          string        // readable; empty on success
	Delivery       webhook.Delivery
}

// Test sends one request through a worker and waits for its outcome, at most the
// webhook's timeout and two seconds: the example of the given type, or a
// webhook.test when event is nil. It goes out whatever the webhook's status, and
// is never retried.
//
// A receiver that fails is a result, not an error. When no worker comes, or the
// caller leaves, the test is called off: it is not sent later.
func (s *Service) Test(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, event *webhook.CatalogueEntry) (TestResult, error) {
	began := time.Now()
	e, err := s.testEvent(ctx, tenant, id, event)
	if err != nil {
		return TestResult{}, err
	}
	owed, timeout, err := s.cfg.Tests.Ask(ctx, id, e)
	if err != nil {
		return TestResult{}, err
	}
	s.cfg.Doorbell.Ring([]webhook.Owed{owed})

	limit := timeout + patience
	deadline := began.Add(limit)
	d, err := s.await(ctx, owed, deadline.Add(-lastLook))
	if err == nil && d.Status.Finished() {
		return s.result(ctx, d, limit)
	}
	s.callOff(ctx, owed)
	if err != nil {
		return TestResult{}, err
	}
	// Now it is canceled, or was finished in that instant, or is under way.
	if d, err = s.await(ctx, owed, deadline); err != nil {
		return TestResult{}, err
	}
	return s.result(ctx, d, limit)
}

func (s *Service) testEvent(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, event *webhook.CatalogueEntry) (webhook.Event, error) {
	content := webhook.NewTestEvent(tenant, id)
	if event != nil {
		content = event.Example(tenant)
	}
	random, err := s.random()
	if err != nil {
		return webhook.Event{}, fmt.Errorf("making an id: %w", err)
	}
	now := s.now()
	eventID := webhook.NewEventID(now, random)
	body, err := content.Body(eventID, now)
	if err != nil {
		return webhook.Event{}, fmt.Errorf("making a test event: %w", err)
	}
	return webhook.Event{
		ID: eventID, Tenant: tenant, Type: content.Type, Body: body, TraceParent: obs.TraceParent(ctx), CreatedAt: now,
	}, nil
}

// await looks until the test is finished or the deadline has passed, and returns
// what it saw last.
func (s *Service) await(ctx context.Context, owed webhook.Owed, deadline time.Time) (webhook.Delivery, error) {
	pause := firstPause
	for {
		d, err := s.cfg.Deliveries.Get(ctx, owed.Tenant, owed.Delivery)
		left := time.Until(deadline)
		if err != nil || d.Status.Finished() || left <= 0 {
			return d, err
		}
		select {
		case <-time.After(min(pause, left)):
			pause = min(pause*3/2, maxPause)
		case <-ctx.Done():
			return d, context.Cause(ctx)
		}
	}
}

// callOff keeps workers from sending the test when nobody waits for it any more.
// Failing to do so is no reason to fail: soon after they leave it alone in any case,
// as they do when this process dies, and the keeper (in the workers) calls it off.
func (s *Service) callOff(ctx context.Context, owed webhook.Owed) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if _, err := s.cfg.Tests.Cancel(ctx, owed.Tenant, owed.Delivery); err != nil {
		s.cfg.Log.WarnContext(ctx, "test send not called off", obs.Delivery(owed.Delivery), obs.Err(err))
	}
}

func (s *Service) result(ctx context.Context, d webhook.Delivery, limit time.Duration) (TestResult, error) {
	r := TestResult{Success: d.Status == webhook.Succeeded, ResponseStatus: d.ResponseStatus, Delivery: d}
	if d.AttemptCount > 0 {
		attempts, err := s.cfg.Deliveries.Attempts(ctx, d.Tenant, []webhook.DeliveryID{d.ID}, math.MaxInt)
		if err != nil {
			return TestResult{}, err
		}
		if made := attempts[d.ID]; len(made) > 0 {
			r.Duration = max(made[len(made)-1].Duration, shortest)
		}
	}
	r.Error = explain(d, limit)
	return r, nil
}

// explain says for people why a test did not succeed; empty when it did.
func explain(d webhook.Delivery, limit time.Duration) string {
	switch {
	case d.Status == webhook.Succeeded:
		return ""
	case d.LastError != "":
		return d.LastError
	case d.FailureReason == webhook.Canceled:
		return fmt.Sprintf("no worker took the test within %s; is a worker running?", limit)
	case d.FailureReason == webhook.WebhookDeleted:
		return "the webhook was deleted meanwhile"
	default:
		return fmt.Sprintf("no outcome within %s; a worker has the test, and its delivery will show how it went", limit)
	}
}
