package postgres_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestI4_aRetryGrantsABudgetAndGoesOnCounting(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	id := b.fail(t, "acme")
	seven := int32(7)
	_, err := b.hooks.Update(t.Context(), "acme", hook, nowMs(), func(w webhook.Webhook) (webhook.Webhook, error) {
		return webhook.Change{PolicyDraft: webhook.PolicyDraft{MaxAttempts: &seven}}.Apply(w, webhook.URLRules{})
	})
	if err != nil {
		t.Fatal(err)
	}

	d, owed, err := b.deliveries.Retry(t.Context(), "acme", id)
	if err != nil || owed == nil {
		t.Fatal(owed, err)
	}
	if d.Status != webhook.Pending || d.AttemptCount != 1 || d.MaxAttempts != 8 || d.FailureReason != "" ||
		!d.CompletedAt.IsZero() || time.Since(d.NextAttemptAt).Abs() > time.Minute {
		t.Errorf("delivery = %+v", d)
	}
	want := webhook.Owed{Delivery: id, Webhook: hook, Tenant: "acme", EventType: "lead.created", Kind: webhook.KindEvent, Attempt: 2}
	if diff := cmp.Diff(want, *owed, opaque()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(laneRow{1, 0, 1, 0}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	b.settle(t, id, webhook.Succeeded)
	attempts, err := b.deliveries.Attempts(t.Context(), "acme", []webhook.DeliveryID{id}, math.MaxInt)
	if err != nil || len(attempts[id]) != 2 || attempts[id][1].Number != 2 {
		t.Errorf("attempts = %+v, %v, want 1 and 2", attempts[id], err)
	}
	if diff := cmp.Diff(laneRow{}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	_, _, err = b.deliveries.Retry(t.Context(), "acme", id)
	wantKind(t, "retrying a success", err, webhook.ErrConflict)
}

func TestRetry_ofManyAtOnceOneWins(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	id := b.fail(t, "acme")
	errs := make(chan error)
	for range 8 {
		go func() {
			_, _, err := b.deliveries.Retry(context.WithoutCancel(t.Context()), "acme", id)
			errs <- err
		}()
	}
	won := 0
	for range 8 {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, webhook.ErrConflict):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d retries won, want 1", won)
	}
	if diff := cmp.Diff(laneRow{1, 0, 1, 0}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

func TestRetry_waitsForItsTurn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(t *testing.T, b *manageBundle, hook webhook.WebhookID)
		want   laneRow
	}{
		"a full window": {
			func(t *testing.T, b *manageBundle, _ webhook.WebhookID) {
				t.Helper()
				b.accept(t, b.submission(t, "acme", window))
			}, laneRow{3, 1, 3, 1},
		},
		"a paused webhook": {
			func(t *testing.T, b *manageBundle, hook webhook.WebhookID) {
				t.Helper()
				b.set(t, "acme", hook, webhook.Paused)
			}, laneRow{0, 1, 0, 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupManage(t)
			hook := b.create(t, newWebhook(t, "acme", "*"))
			id := b.fail(t, "acme")
			tc.before(t, b, hook)
			d, owed, err := b.deliveries.Retry(t.Context(), "acme", id)
			if err != nil || owed != nil || d.Status != webhook.Pending {
				t.Errorf("retry = %v, %v, %v, want pending and nothing to ring for", d.Status, owed, err)
			}
			if diff := cmp.Diff(tc.want, b.lane(t, hook)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRetry_whatCannotBeRetriedIsAConflict(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	id := b.fail(t, "acme")
	typ, _ := webhook.ParseEventType("lead.created")
	test, _, err := b.tests.Ask(t.Context(), hook, webhook.Event{ID: webhook.NewEventID(nowMs(), random(t)), Tenant: "acme", Type: typ, Body: "{}"})
	if err != nil {
		t.Fatal(err)
	}
	b.settle(t, test.Delivery, webhook.Failed)
	_, _, err = b.deliveries.Retry(t.Context(), "acme", test.Delivery)
	wantKind(t, "a test send", err, webhook.ErrConflict)

	_, owed := b.accept(t, b.submission(t, "acme", 1))
	_, _, err = b.deliveries.Retry(t.Context(), "acme", owed[0].Delivery)
	wantKind(t, "a pending one", err, webhook.ErrConflict)

	b.exec(t, `DELETE FROM events WHERE id = (SELECT event_id FROM deliveries WHERE id = $1)`, id.UUID())
	_, _, err = b.deliveries.Retry(t.Context(), "acme", id)
	wantKind(t, "one whose event is gone", err, webhook.ErrConflict)
	if d, err := b.deliveries.Get(t.Context(), "acme", id); err != nil || d.Status != webhook.Failed {
		t.Errorf("delivery = %v, %v, want it failed still", d.Status, err)
	}
}
