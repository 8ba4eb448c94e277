package postgres_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// announce lets the relay say everything there is to say, and returns what it is
// to ring for.
func (b *bundle) announce(t *testing.T) (owed []webhook.Owed) {
	t.Helper()
	for {
		tenants, err := b.relay.WithNotices(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(tenants) == 0 {
			return owed
		}
		n, more, err := b.relay.Announce(t.Context(), tenants[0], window, 2)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		owed = append(owed, more...)
	}
}

// heard lists the types of the platform's events that a webhook is owed, or was.
func (b *bundle) heard(t *testing.T, hook webhook.WebhookID) []string {
	t.Helper()
	types := []string{}
	if err := b.db.SelectContext(t.Context(), &types, `SELECT event_type FROM deliveries
		WHERE webhook_id = $1 AND event_type ~ '^(webhook|delivery)\.' AND kind = 'event' ORDER BY event_type`, hook.UUID()); err != nil {
		t.Fatal(err)
	}
	return types
}

// deliver accepts an event and records how its delivery to a webhook ends.
func (b *bundle) deliver(t *testing.T, hook webhook.WebhookID, status webhook.DeliveryStatus) webhook.Outcome {
	t.Helper()
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	i := slices.IndexFunc(owed, func(o webhook.Owed) bool { return o.Webhook == hook })
	if i < 0 {
		t.Fatal("nothing is owed to the webhook")
	}
	o := outcome(b.claim(t, owed[i].Delivery), status)
	b.record(t, o)
	return o
}

func TestRelay_exhaustedDeliveriesAreToldToOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "lead.*", "delivery.exhausted", "webhook.*")
	byName, byPrefix := b.webhook(t, "acme", "delivery.exhausted"), b.webhook(t, "acme", "delivery.*")
	all, foreign := b.webhook(t, "acme", "*"), b.webhook(t, "other", "delivery.*")
	failed := b.deliver(t, hook, webhook.Failed)
	owed := b.announce(t)

	for name, tc := range map[string]struct {
		hook webhook.WebhookID
		want []string
	}{
		"by name": {byName, []string{"delivery.exhausted"}}, "by prefix": {byPrefix, []string{"delivery.exhausted"}},
		"everything is not asked for": {all, []string{}}, "another tenant": {foreign, []string{}}, "about itself": {hook, []string{}},
	} {
		if diff := cmp.Diff(tc.want, b.heard(t, tc.hook)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if len(owed) != 2 || len(b.announce(t)) != 0 {
		t.Errorf("to ring for: %v, want each of two once", owed)
	}
	claim := b.claim(t, owed[0].Delivery)
	var body struct {
		ID   string `json:"id"`
		Type string `json:"type"`
		Data struct {
			ObjectID string         `json:"objectId"`
			Object   map[string]any `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal([]byte(claim.Body), &body); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": failed.Claim.Delivery.String(), "webhookId": hook.String(), "webhookName": "n", "eventId": failed.Claim.Event.String(),
		"eventType": "lead.created", "status": "FAILED", "failureReason": "ATTEMPTS_EXHAUSTED", "attemptCount": 1.0,
		"responseStatus": 500.0, "lastError": "receiver answered 500",
	}
	if diff := cmp.Diff(want, body.Data.Object); diff != "" || body.Data.ObjectID != want["id"] ||
		body.ID != claim.Event.String() || body.Type != "delivery.exhausted" || claim.EventType != body.Type {
		t.Errorf("claim %+v (-want +got):\n%s", claim.Owed, diff)
	}
}

func TestWork_whatIsNotTold(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	ear := b.create(t, newWebhook(t, "acme", "delivery.*"))
	hook := b.create(t, newWebhook(t, "acme", "lead.created"))

	b.deliver(t, hook, webhook.Failed)
	b.deliver(t, hook, webhook.Succeeded)
	b.deliver(t, hook, webhook.Retrying)
	gone := b.claim(t, func() webhook.DeliveryID { _, owed := b.accept(t, b.submission(t, "acme", 1)); return owed[0].Delivery }())
	o := outcome(gone, webhook.Failed)
	o.Next.Reason = webhook.ReceiverGone
	b.record(t, o)
	typ, _ := webhook.ParseEventType("lead.created")
	test, _, err := b.tests.Ask(t.Context(), hook, webhook.Event{ID: webhook.NewEventID(nowMs(), random(t)), Tenant: "acme", Type: typ, Body: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	b.record(t, outcome(b.claim(t, test.Delivery), webhook.Failed))

	owed := b.announce(t)
	if len(owed) != 1 || owed[0].Webhook != ear {
		t.Fatalf("told: %v, want the exhausted one only", owed)
	}
	// The delivery of a platform event is exhausted: nobody is told.
	b.create(t, newWebhook(t, "acme", "delivery.*"))
	b.record(t, outcome(b.claim(t, owed[0].Delivery), webhook.Failed))
	if more := b.announce(t); len(more) != 0 {
		t.Errorf("told of a platform event's delivery: %v", more)
	}
}

func TestWork_whatNobodyWantsToHearIsNotNoted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*", "delivery.*", "webhook.*")
	b.webhook(t, "other", "delivery.*", "webhook.*")
	b.deliver(t, hook, webhook.Failed)
	b.disable(t, hook)
	var notices int
	if err := b.db.GetContext(t.Context(), &notices, `SELECT count(*) FROM notices`); err != nil || notices != 0 {
		t.Errorf("notices = %d, %v, want none", notices, err)
	}
}

func TestWork_failingAndRecoveredAreToldOnce(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook, ear := b.create(t, newWebhook(t, "acme", "lead.created")), b.create(t, newWebhook(t, "acme", "webhook.*"))
	told := []string{}
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"a success", func() { b.deliver(t, hook, webhook.Succeeded) }, nil},
		{"a failure that will be tried again", func() { b.deliver(t, hook, webhook.Retrying) }, nil},
		{"a delivery lost", func() { b.deliver(t, hook, webhook.Failed) }, []string{"webhook.failing"}},
		{"another one", func() { b.deliver(t, hook, webhook.Failed) }, nil},
		{"a success after that", func() { b.deliver(t, hook, webhook.Succeeded) }, []string{"webhook.recovered"}},
		{"another success", func() { b.deliver(t, hook, webhook.Succeeded) }, nil},
		{"a delivery lost again", func() { b.deliver(t, hook, webhook.Failed) }, []string{"webhook.failing"}},
		{"a pause and a resume", func() { b.set(t, "acme", hook, webhook.Paused); b.set(t, "acme", hook, webhook.Active) }, nil},
		{"lost in spite of it", func() { b.deliver(t, hook, webhook.Failed) }, []string{"webhook.failing"}},
		{"a success at last", func() { b.deliver(t, hook, webhook.Succeeded) }, []string{"webhook.recovered"}},
	} {
		step.do()
		b.announce(t)
		told = append(told, step.want...)
		slices.Sort(told)
		if diff := cmp.Diff(told, b.heard(t, ear)); diff != "" {
			t.Fatalf("after %s (-want +got):\n%s", step.name, diff)
		}
	}
	if got := b.heard(t, hook); len(got) != 0 {
		t.Errorf("the webhook heard %v about itself", got)
	}
}

func TestWork_failingIsToldWhenItLasts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook, ear := b.webhook(t, "acme", "lead.created"), b.webhook(t, "acme", "webhook.failing")
	b.deliver(t, hook, webhook.Retrying)
	for _, step := range []struct {
		age  time.Duration
		want []string
	}{{webhook.FailingInEarnest - time.Minute, []string{}}, {webhook.FailingInEarnest, []string{"webhook.failing"}}} {
		b.exec(t, `UPDATE lanes SET failing_since = now() - $1 * interval '1 second' WHERE failing_since IS NOT NULL`, step.age.Seconds())
		b.deliver(t, hook, webhook.Retrying)
		b.announce(t)
		if diff := cmp.Diff(step.want, b.heard(t, ear)); diff != "" {
			t.Errorf("failing for %s (-want +got):\n%s", step.age, diff)
		}
	}
}

func TestRelay_disablingIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	gone, failing := b.webhook(t, "acme", "lead.created"), b.webhook(t, "acme", "lead.created")
	ear := b.webhook(t, "acme", "webhook.disabled")
	for range 2 { // it is disabled already the second time
		b.disable(t, gone)
	}
	b.exec(t, `UPDATE lanes SET failing_since = now() - interval '1 hour', failed_at = now(), failures = 3 WHERE webhook_id = $1`, failing.UUID())
	b.disableFailing(t, webhook.Tolerance{For: time.Hour, Deliveries: 3})
	b.announce(t)
	if diff := cmp.Diff([]string{"webhook.disabled", "webhook.disabled"}, b.heard(t, ear)); diff != "" {
		t.Error(diff)
	}
	var bodies []string
	if err := b.db.SelectContext(t.Context(), &bodies, `SELECT body FROM events WHERE type = 'webhook.disabled'`); err != nil {
		t.Fatal(err)
	}
	reasons := map[string]any{}
	for _, text := range bodies {
		var body struct {
			Data struct {
				ObjectID string         `json:"objectId"`
				Object   map[string]any `json:"object"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(text), &body); err != nil {
			t.Fatal(err)
		}
		reasons[body.Data.ObjectID] = body.Data.Object["failedDeliveries"]
	}
	if diff := cmp.Diff(map[string]any{gone.String(): 0.0, failing.String(): 3.0}, reasons); diff != "" {
		t.Error(diff)
	}
}

func TestI4_aRepeatedRecordTellsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook, ear := b.webhook(t, "acme", "lead.created"), b.webhook(t, "acme", "delivery.*", "webhook.*")
	failed := b.deliver(t, hook, webhook.Failed)
	b.record(t, failed) // its answer was lost, for all the recorder knows
	b.announce(t)
	if diff := cmp.Diff([]string{"delivery.exhausted", "webhook.failing"}, b.heard(t, ear)); diff != "" {
		t.Error(diff)
	}
}

// A lane that somebody holds delays what its tenant is told, and loses nothing.
func TestRelay_aLockedLaneDelaysNews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook, locked := b.webhook(t, "acme", "lead.created"), b.webhook(t, "acme", "delivery.exhausted")
	b.deliver(t, hook, webhook.Failed)
	holder := b.begin(t)
	if _, err := holder.ExecContext(t.Context(), `SELECT FROM lanes WHERE webhook_id = $1 FOR UPDATE`, locked.UUID()); err != nil {
		t.Fatal(err)
	}
	if n, owed, err := b.relay.Announce(t.Context(), "acme", window, 100); n+len(owed) != 0 || !errors.Is(err, webhook.ErrUnavailable) {
		t.Errorf("announced %d, %v, %v, want to be told to come back", n, owed, err)
	}
	var events int
	if err := b.db.GetContext(t.Context(), &events, `SELECT count(*) FROM events WHERE type = 'delivery.exhausted'`); err != nil || events != 0 {
		t.Errorf("events stored = %d, %v", events, err)
	}
	if err := holder.Commit(); err != nil {
		t.Fatal(err)
	}
	if owed := b.announce(t); len(owed) != 1 || owed[0].Webhook != locked {
		t.Errorf("told later: %v", owed)
	}
}

func TestRelay_tenantsWithNoticesComeInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	b.exec(t, `INSERT INTO notices (tenant_id, type, webhook_id)
		SELECT tenant, 'webhook.failing', $1 FROM unnest('{b,d,a,c}'::text[]) AS tenant, generate_series(1, 3)`, hook.UUID())
	for _, tc := range []struct {
		after webhook.TenantID
		limit int
		want  []webhook.TenantID
	}{{"", 10, []webhook.TenantID{"a", "b", "c", "d"}}, {"", 2, []webhook.TenantID{"a", "b"}}, {"b", 10, []webhook.TenantID{"c", "d"}}, {"d", 10, nil}} {
		got, err := b.relay.WithNotices(t.Context(), tc.after, tc.limit)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("after %q, %d at most (-want +got):\n%s", tc.after, tc.limit, diff)
		}
	}
}
