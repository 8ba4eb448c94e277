package postgres_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// disable has the service disable a webhook, as after a 410.
func (b *bundle) disable(t *testing.T, hook webhook.WebhookID) {
	t.Helper()
	b.exec(t, `UPDATE lanes SET quiet_until = 'infinity' WHERE webhook_id = $1 AND open`, hook.UUID())
	if _, err := b.relay.DisableGone(t.Context(), []webhook.WebhookID{hook}); err != nil {
		t.Fatal(err)
	}
}

// gone is the outcome of an attempt that was answered 410.
func gone(c webhook.Claim) webhook.Outcome {
	o := outcome(c, webhook.Failed)
	o.Attempt.ResponseStatus, o.Next.Reason, o.Next.DisableWebhook = 410, webhook.ReceiverGone, true
	return o
}

// answerGone has a webhook with a backlog of `more` deliveries answer a window of
// them with 410, one after the other, and nobody disable it.
func (b *bundle) answerGone(t *testing.T, more int) {
	t.Helper()
	_, owed := b.accept(t, b.submission(t, "acme", window+more))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != window {
		t.Fatal(claims, err)
	}
	for _, c := range claims {
		adm, err := b.work.Record(t.Context(), []webhook.Outcome{gone(c)}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Ring: webhook.NoLimit, Holder: "h"})
		if err != nil || len(adm.Claimed)+len(adm.Rung)+len(adm.Again) != 0 {
			t.Fatalf("a 410 hands its slot on: %+v, %v", adm, err)
		}
	}
}

func TestWork_a410HoldsTheRestAtOnce(t *testing.T) {
	t.Parallel()
	for name, disabled := range map[string]func(*manageBundle, webhook.WebhookID) ([]webhook.WebhookID, error){
		"by whoever recorded it": func(b *manageBundle, hook webhook.WebhookID) ([]webhook.WebhookID, error) {
			return b.relay.DisableGone(t.Context(), []webhook.WebhookID{hook})
		},
		"by the relay, as he died": func(b *manageBundle, _ webhook.WebhookID) ([]webhook.WebhookID, error) {
			return b.relay.DisableFailing(t.Context(), webhook.DefaultTolerance(), 10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const held = 27
			b := setupManage(t)
			hook, other := b.create(t, newWebhook(t, "acme", "*")), b.create(t, newWebhook(t, "acme", "account.*"))
			b.answerGone(t, held)
			if owed, err := b.relay.Unclaimed(t.Context(), 0, false, 100); err != nil || len(owed) != 0 {
				t.Errorf("the relay rings for %d, %v", len(owed), err)
			}
			got, err := disabled(b, hook)
			if err != nil || len(got) != 1 || got[0] != hook {
				t.Fatalf("disabled %v, %v, want %s", got, err, hook)
			}
			w, err := b.hooks.Get(t.Context(), "acme", hook)
			if err != nil || w.Status != webhook.Disabled || w.StatusReason != webhook.GoneReason {
				t.Errorf("the webhook is %s, %q, %v", w.Status, w.StatusReason, err)
			}
			if w, err := b.hooks.Get(t.Context(), "acme", other); err != nil || w.Status != webhook.Active {
				t.Errorf("the other one is %s, %v", w.Status, err)
			}
			if diff := cmp.Diff(laneRow{0, held, 0, held}, b.lane(t, hook)); diff != "" {
				t.Error(diff)
			}
			if got, err := disabled(b, hook); err != nil || len(got) != 0 {
				t.Errorf("disabled %v again, %v", got, err)
			}
			b.set(t, "acme", hook, webhook.Active)
			if owed, err := b.work.Fill(t.Context(), []webhook.WebhookID{hook}); err != nil || len(owed) != window {
				t.Errorf("a resume rings for %d, %v, want the window", len(owed), err)
			}
		})
	}
}

// Somebody gives the webhook another URL, or pauses and resumes it, between the
// 410 and its consequence.
func TestRelay_a410IsForgottenWithItsURL(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*testing.T, *manageBundle, webhook.WebhookID){
		"another URL": func(t *testing.T, b *manageBundle, hook webhook.WebhookID) {
			t.Helper()
			_, err := b.hooks.Update(t.Context(), "acme", hook, nowMs(), func(w webhook.Webhook) (webhook.Webhook, error) {
				w.URL = "https://other.example/"
				return w, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		"a resume": func(t *testing.T, b *manageBundle, hook webhook.WebhookID) {
			t.Helper()
			b.set(t, "acme", hook, webhook.Paused)
			b.set(t, "acme", hook, webhook.Active)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupManage(t)
			hook := b.create(t, newWebhook(t, "acme", "*"))
			b.answerGone(t, 5)
			change(t, b, hook)
			for _, disable := range []func() ([]webhook.WebhookID, error){
				func() ([]webhook.WebhookID, error) {
					return b.relay.DisableGone(t.Context(), []webhook.WebhookID{hook})
				},
				func() ([]webhook.WebhookID, error) {
					return b.relay.DisableFailing(t.Context(), webhook.Tolerance{For: time.Hour, Deliveries: 1}, 10)
				},
			} {
				if got, err := disable(); err != nil || len(got) != 0 {
					t.Errorf("disabled %v, %v", got, err)
				}
			}
			if w, err := b.hooks.Get(t.Context(), "acme", hook); err != nil || w.Status != webhook.Active {
				t.Errorf("the webhook is %s, %v", w.Status, err)
			}
			if owed, err := b.work.Fill(t.Context(), []webhook.WebhookID{hook}); err != nil || len(owed) != window {
				t.Errorf("rung for %d, %v, want the window", len(owed), err)
			}
		})
	}
}

func TestTestSends_a410DisablesNothing(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	b.record(t, gone(b.claim(t, b.ask(t, hook).Delivery)))
	for range 2 {
		if got, err := b.relay.DisableGone(t.Context(), []webhook.WebhookID{hook}); err != nil || len(got) != 0 {
			t.Errorf("disabled %v, %v", got, err)
		}
		if got := b.disableFailing(t, webhook.DefaultTolerance()); len(got) != 0 {
			t.Errorf("disabled %v", got)
		}
	}
	if _, owed := b.accept(t, b.submission(t, "acme", 1)); len(owed) != 1 {
		t.Errorf("rung for %d of a new event's deliveries, want 1", len(owed))
	}
}
