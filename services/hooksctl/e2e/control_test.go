package e2e_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestControl_pauseHoldsAndResumeReleases(t *testing.T) {
	t.Parallel()
	const events = 30
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	s.worker()
	held := r.subscribe(c, "/held", nil).Webhook.ID
	r.subscribe(c, "/other", nil)
	paused := c.update(held, vars{"status": "PAUSED"})
	if paused.Status != "PAUSED" || !strings.Contains(text(paused.StatusReason), "user-1") {
		t.Errorf("paused webhook = %+v", paused)
	}
	c.dispatchMany(events)
	// What came for the other one shows that all of them have had their chance.
	await(t, "the other webhook's deliveries", func() bool {
		return c.countDeliveries("", "SUCCESS") == events
	})
	if n := len(r.requests("/held")); n != 0 {
		t.Errorf("%d requests while paused", n)
	}
	if got := c.stats(held); got.Total != events || got.Pending != events || got.SuccessRate != nil {
		t.Errorf("stats while paused = %+v", got)
	}

	if resumed := c.update(held, vars{"status": "ACTIVE"}); resumed.Status != "ACTIVE" || resumed.StatusReason != nil {
		t.Errorf("resumed webhook = %+v", resumed)
	}
	await(t, "the held deliveries", func() bool { return c.countDeliveries(held, "SUCCESS") == events })
	if got := c.stats(held); got.Succeeded != events || got.Pending != 0 || text(got.SuccessRate) != "1" {
		t.Errorf("stats after the resume = %+v", got)
	}
	if n := len(r.requests("/held")); n != events || len(r.perDelivery()) != 2*events {
		t.Errorf("%d requests for %d held events, %d deliveries in all", n, events, len(r.perDelivery()))
	}
	s.awaitEmptyLanes()
}

// countDeliveries counts those of a webhook, or of all, in one status.
func (c *client) countDeliveries(webhookID, status string) int {
	c.t.Helper()
	v := vars{"filter": vars{"status": []string{status}}}
	if webhookID != "" {
		v["id"] = webhookID
	}
	return get[page[delivery]](c, queryDeliveries, v).TotalCount
}

// Pausing stops retries, too, and a webhook's new URL and budget count for what
// is still owed.
func TestControl_retriesAreHeldAndFollowTheWebhook(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	s.worker()
	made := r.subscribe(c, "/old", vars{"initialBackoffMs": 500})
	r.trust("/new", made.Secret)
	r.answer("/old", status(http.StatusInternalServerError))
	ev := c.dispatch(event("1"))
	d := c.awaitDelivery(ev.EventID, func(d delivery) bool { return d.AttemptCount == 1 })
	if d.Status != "RETRYING" || d.NextAttemptAt == nil || d.NextAttemptAt.Before(d.CreatedAt) || !strings.Contains(text(d.LastError), "500") {
		t.Errorf("after a failure: %+v", d)
	}
	c.update(made.Webhook.ID, vars{"status": "PAUSED", "url": r.URL + "/new"})
	<-time.After(time.Until(d.NextAttemptAt.Add(1500 * time.Millisecond))) // its bell rings meanwhile
	if d = c.deliveriesOf(ev.EventID)[0]; finished(d) {
		t.Errorf("was sent while paused: %+v", d)
	}
	c.update(made.Webhook.ID, vars{"status": "ACTIVE"})
	d = c.awaitDelivery(ev.EventID, finished)
	if d.Status != "SUCCESS" || d.AttemptCount < 2 || len(r.requests("/new")) != 1 {
		t.Errorf("after the resume: %+v", d)
	}
}

func TestControl_deletingFailsWhatIsOwed(t *testing.T) {
	t.Parallel()
	const events = 12
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	s.worker()
	id := r.subscribe(c, "/", nil).Webhook.ID
	done := c.dispatch(event("before"))
	c.awaitDelivery(done.EventID, finished)
	c.update(id, vars{"status": "PAUSED"})
	owed := c.dispatchMany(events)
	deleted := get[struct {
		DeletedID  string
		UserErrors []userError
	}](c, deleteHook, vars{"id": id})
	if deleted.DeletedID != id || len(deleted.UserErrors) > 0 {
		t.Fatalf("deleting: %+v", deleted)
	}
	if got := get[*hook](c, queryHook, vars{"id": id}); got != nil {
		t.Errorf("a deleted webhook answers %+v", got)
	}
	await(t, "what was owed to fail", func() bool { return c.countDeliveries("", "FAILED") == events })
	for _, eventID := range []string{owed.EventIDs[0], owed.EventIDs[events-1]} {
		d := c.deliveriesOf(eventID)[0]
		if text(d.FailureReason) != "WEBHOOK_DELETED" || d.Webhook != nil || d.WebhookID != id || d.CompletedAt == nil || d.AttemptCount != 0 {
			t.Errorf("owed delivery = %+v", d)
		}
		refusedRetry(t, c, d.ID, "CONFLICT")
	}
	if d := c.deliveriesOf(done.EventID)[0]; d.Status != "SUCCESS" || d.Webhook != nil || len(d.Attempts) != 1 {
		t.Errorf("former delivery = %+v, want it to stay readable", d)
	}
	if later := c.dispatch(event("later")); later.DeliveryCount != 0 {
		t.Errorf("a deleted webhook is owed %d deliveries", later.DeliveryCount)
	}
	if n := len(r.requests("/")); n != 1 {
		t.Errorf("%d requests, want the one before", n)
	}
	s.await("nothing left of its lane", `count(*) = 0 FROM lanes`)
}

// refusedRetry checks that a delivery cannot be retried, and why.
func refusedRetry(t *testing.T, c *client, id, code string) {
	t.Helper()
	got := get[struct {
		Delivery   *delivery
		UserErrors []userError
	}](c, retryDelivery, vars{"id": id})
	if len(got.UserErrors) != 1 || got.UserErrors[0].Code != code || strings.Join(got.UserErrors[0].Field, ".") != "id" || got.Delivery != nil {
		t.Errorf("retrying %s: %+v, want %s about id", id, got, code)
	}
}

func TestControl_secretRotation(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	s.worker()
	for name, tc := range map[string]struct {
		graceSeconds int
		both         bool
	}{"during grace": {3600, true}, "without grace": {0, false}, "after grace": {1, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c.in(t)
			path, kind := "/"+strings.ReplaceAll(name, " ", "-"), "rotated."+strings.ReplaceAll(name, " ", "_")
			former := c.create(r.URL+path, vars{"eventPatterns": []string{kind}})
			id := former.Webhook.ID
			rotated := get[created](c, rotateHook, vars{"id": id, "grace": tc.graceSeconds})
			if len(rotated.UserErrors) > 0 || rotated.Secret == former.Secret || rotated.Secret == "" || rotated.PreviousSecretExpiresAt == nil {
				t.Fatalf("rotating: %+v", rotated)
			}
			if !tc.both {
				// The event is accepted while the former secret lives; what counts is
				// when it is sent.
				c.update(id, vars{"status": "PAUSED"})
			}
			c.dispatch(vars{"customEvent": kind, "objectId": "1", "object": vars{}})
			if !tc.both {
				<-time.After(time.Until(*rotated.PreviousSecretExpiresAt))
				c.update(id, vars{"status": "ACTIVE"})
			}
			got := r.awaitRequests(t, path, 1)[0]
			if err := got.verify(t, rotated.Secret); err != nil {
				t.Errorf("by the new secret: %v", err)
			}
			if err := got.verify(t, former.Secret); (err == nil) != tc.both {
				t.Errorf("by the former secret: %v, want a good one: %t", err, tc.both)
			}
			want := 1
			if tc.both {
				want = 2
			}
			if n := len(strings.Fields(got.Header.Get("Webhook-Signature"))); n != want {
				t.Errorf("%d signatures, want %d", n, want)
			}
		})
	}
}
