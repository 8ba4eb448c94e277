package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// failing reads how a lane fails; the zero Failing when it does not.
func (b *bundle) failing(t *testing.T, hook webhook.WebhookID) (f webhook.Failing) {
	t.Helper()
	err := b.db.QueryRowContext(t.Context(), `SELECT coalesce(failing_since, '0001-01-01'), coalesce(failed_at, '0001-01-01'), failures
		FROM lanes WHERE webhook_id = $1`, hook.UUID()).Scan(&f.Since, &f.Until, &f.Deliveries)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// claim takes one delivery that nobody is sending.
func (b *bundle) claim(t *testing.T, id webhook.DeliveryID) webhook.Claim {
	t.Helper()
	claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{id}, "h")
	if err != nil || len(claims) != 1 {
		t.Fatalf("claimed %d, %v, want 1", len(claims), err)
	}
	return claims[0]
}

func (b *bundle) record(t *testing.T, outcomes ...webhook.Outcome) {
	t.Helper()
	adm, err := b.work.Record(t.Context(), outcomes, webhook.Room{Ring: webhook.NoLimit})
	if err != nil || len(adm.Lost) != 0 {
		t.Fatal(adm.Lost, err)
	}
}

// attempt makes the next attempt of a delivery, however long it should wait.
func (b *bundle) attempt(t *testing.T, hook webhook.WebhookID, id webhook.DeliveryID, status webhook.DeliveryStatus) {
	t.Helper()
	b.exec(t, `UPDATE pending_deliveries SET due_at = now() WHERE delivery_id = $1`, id.UUID())
	if _, err := b.work.Admit(t.Context(), []webhook.WebhookID{hook}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
		t.Fatal(err)
	}
	b.record(t, outcome(b.claim(t, id), status))
}

func TestWork_failuresCountByDeliverySinceTheLastSuccess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", window))
	first, second, good := owed[0].Delivery, owed[1].Delivery, owed[2].Delivery
	for _, step := range []struct {
		name   string
		id     webhook.DeliveryID
		status webhook.DeliveryStatus
		want   int
	}{
		{"the first failure", first, webhook.Retrying, 1},
		{"the same delivery again", first, webhook.Retrying, 1},
		{"another delivery", second, webhook.Retrying, 2},
		{"a success", good, webhook.Succeeded, 0},
		{"one that had failed before the success", second, webhook.Retrying, 1},
		{"the same again, for the last time", second, webhook.Failed, 1},
		{"the other one, for the last time", first, webhook.Failed, 2},
	} {
		before := b.failing(t, hook)
		b.attempt(t, hook, step.id, step.status)
		got := b.failing(t, hook)
		if got.Deliveries != step.want {
			t.Errorf("%s: %d failing deliveries, want %d", step.name, got.Deliveries, step.want)
		}
		if goesOn := before.Deliveries > 0 && step.want > 0; goesOn && (!got.Since.Equal(before.Since) || !got.Until.After(before.Until)) {
			t.Errorf("%s: failing from %s to %s, was %s to %s", step.name, got.Since, got.Until, before.Since, before.Until)
		}
		if (got.Since.Year() > 1) != (step.want > 0) {
			t.Errorf("%s: failing since %s", step.name, got.Since)
		}
	}
}

func TestWork_aSuccessInTheSameBatchCountsLast(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook, other := b.webhook(t, "acme", "*"), b.webhook(t, "other", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 2), b.submission(t, "other", 2))
	var outcomes []webhook.Outcome
	for i, o := range owed {
		status := webhook.Failed
		if i == 0 {
			status = webhook.Succeeded
		}
		outcomes = append(outcomes, outcome(b.claim(t, o.Delivery), status))
	}
	b.record(t, outcomes...)
	if got := []int{b.failing(t, hook).Deliveries, b.failing(t, other).Deliveries}; !cmp.Equal(got, []int{0, 2}) {
		t.Errorf("failing deliveries = %v, want 0 of the one that succeeded, 2 of the other", got)
	}
}

func TestWork_testSendsAreNoFailures(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	typ, _ := webhook.ParseEventType("lead.created")
	owed, _, err := b.tests.Ask(t.Context(), hook, webhook.Event{ID: webhook.NewEventID(nowMs(), random(t)), Tenant: "acme", Type: typ, Body: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	b.record(t, outcome(b.claim(t, owed.Delivery), webhook.Failed))
	if got := b.failing(t, hook).Deliveries; got != 0 {
		t.Errorf("%d failing deliveries after a test", got)
	}
}

// failFor lets a webhook fail in some deliveries, over a time that ends now; one
// delivery more is left waiting.
func (b *bundle) failFor(t *testing.T, hook webhook.WebhookID, deliveries int, lasting time.Duration) {
	t.Helper()
	for range deliveries {
		_, owed := b.accept(t, b.submission(t, "acme", 1))
		b.record(t, outcome(b.claim(t, owed[0].Delivery), webhook.Failed))
	}
	b.accept(t, b.submission(t, "acme", window+2))
	b.exec(t, `UPDATE lanes SET failing_since = failed_at - $2 * interval '1 second' WHERE webhook_id = $1`, hook.UUID(), lasting.Seconds())
}

func (b *bundle) disableFailing(t *testing.T, tolerance webhook.Tolerance) []webhook.WebhookID {
	t.Helper()
	disabled, err := b.relay.DisableFailing(t.Context(), tolerance, 100)
	if err != nil {
		t.Fatal(err)
	}
	return disabled
}

func TestRelay_disablesWhatOnlyFailed(t *testing.T) {
	t.Parallel()
	tolerance := webhook.Tolerance{For: time.Hour, Deliveries: 3}
	for name, tc := range map[string]struct {
		deliveries int
		lasting    time.Duration
		want       bool
	}{
		"long enough and often enough": {3, time.Hour, true},
		"too short":                    {5, 59 * time.Minute, false},
		"too few":                      {2, 1000 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupManage(t)
			hook := b.create(t, newWebhook(t, "acme", "*"))
			b.failFor(t, hook, tc.deliveries, tc.lasting)
			disabled := b.disableFailing(t, tolerance)
			w, err := b.hooks.Get(t.Context(), "acme", hook)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.Status == webhook.Disabled; got != tc.want || (len(disabled) == 1) != tc.want {
				t.Fatalf("status = %s, disabled %v, want disabled: %t", w.Status, disabled, tc.want)
			}
			if tc.want && (!strings.HasPrefix(w.StatusReason, "only failures since ") || !strings.HasSuffix(w.StatusReason, ", in 3 deliveries")) {
				t.Errorf("reason = %q", w.StatusReason)
			}
			want := laneRow{window, 2, window, 2}
			if tc.want {
				want = laneRow{0, window + 2, 0, window + 2}
			}
			if diff := cmp.Diff(want, b.lane(t, hook)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRelay_aSuccessBeforeTheLockSavesAWebhook(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	b.failFor(t, hook, 3, time.Hour)
	success := b.begin(t)
	// It has failed once since, too.
	if _, err := success.ExecContext(t.Context(), `UPDATE lanes SET failing_since = now(), failed_at = now(), failures = 1`); err != nil {
		t.Fatal(err)
	}
	disabled := make(chan int, 1)
	go func() { // waited for below
		hooks, err := b.relay.DisableFailing(context.WithoutCancel(t.Context()), webhook.Tolerance{For: time.Hour, Deliveries: 3}, 100)
		if err != nil {
			t.Error(err)
		}
		disabled <- len(hooks)
	}()
	b.awaitBlocked(t, 1)
	if err := success.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := <-disabled; n != 0 {
		t.Error("disabled although it has succeeded")
	}
	if w, err := b.hooks.Get(t.Context(), "acme", hook); err != nil || w.Status != webhook.Active {
		t.Errorf("status = %s, %v", w.Status, err)
	}
}

func TestRelay_aResumedWebhookStartsAfresh(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	tolerance := webhook.Tolerance{For: time.Hour, Deliveries: 3}
	b.failFor(t, hook, 3, time.Hour)
	if n := len(b.disableFailing(t, tolerance)); n != 1 {
		t.Fatalf("disabled %d, want 1", n)
	}
	b.set(t, "acme", hook, webhook.Active)
	if got := b.failing(t, hook).Deliveries; got != 0 {
		t.Errorf("%d failing deliveries after the resume", got)
	}
	if n := len(b.disableFailing(t, tolerance)); n != 0 {
		t.Error("disabled again at once")
	}
	// What was held goes out at the webhook's own pace.
	owed, err := b.work.Fill(t.Context(), []webhook.WebhookID{hook})
	if err != nil || len(owed) != window {
		t.Errorf("released %d, %v, want the window of %d", len(owed), err, window)
	}
	if diff := cmp.Diff(laneRow{window, 2, window, 2}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

func TestWebhooks_anotherURLIsForgiven(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	b.failFor(t, hook, 3, time.Hour)
	for _, edit := range []struct {
		url  string
		want int
	}{{"https://example.com/in", 3}, {"https://example.com/right", 0}} {
		_, err := b.hooks.Update(t.Context(), "acme", hook, nowMs(), func(w webhook.Webhook) (webhook.Webhook, error) {
			w.Name, w.URL = edit.url, edit.url
			return w, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := b.failing(t, hook).Deliveries; got != edit.want {
			t.Errorf("failing deliveries with %s = %d, want %d", edit.url, got, edit.want)
		}
	}
}

func TestI10_aWebhookThatOnlyFailsGetsASmallerWindow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	b.exec(t, `UPDATE lanes SET failures = 20, failing_since = now(), failed_at = now()`)
	const few = 2
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	_, more := acceptLarge(t, b, b.submission(t, "acme", 9))
	owed = append(owed, more...)
	b.exec(t, `UPDATE pending_deliveries SET due_at = now() - interval '1 minute'`)
	if diff := cmp.Diff(laneRow{few, 8, few, 8}, b.lane(t, hook)); diff != "" || len(owed) != few {
		t.Errorf("rang for %d, %s", len(owed), diff)
	}
	if adm, err := b.work.Admit(t.Context(), []webhook.WebhookID{hook}, webhook.Room{Ring: webhook.NoLimit}); err != nil || len(adm.Rung) > 0 {
		t.Errorf("admitted %d more, %v", len(adm.Rung), err)
	}
	if hooks, err := b.relay.WithRoom(t.Context(), window, 0, webhook.WebhookID{}, 9); err != nil || len(hooks) > 0 {
		t.Errorf("the relay sees room at %v, %v", hooks, err)
	}
	b.record(t, outcome(b.claim(t, owed[0].Delivery), webhook.Retrying))
	if diff := cmp.Diff(laneRow{few, 8, few, 8}, b.lane(t, hook)); diff != "" {
		t.Errorf("after another failure\n%s", diff)
	}
	b.record(t, outcome(b.claim(t, owed[1].Delivery), webhook.Succeeded))
	if diff := cmp.Diff(laneRow{window, 9 - window, window, 9 - window}, b.lane(t, hook)); diff != "" {
		t.Errorf("after a success\n%s", diff)
	}
}
