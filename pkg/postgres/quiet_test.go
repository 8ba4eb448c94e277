package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// tooMany is the outcome of an attempt that was answered 429 with a Retry-After.
func tooMany(c webhook.Claim, status webhook.DeliveryStatus, after time.Duration) webhook.Outcome {
	o := outcome(c, status)
	o.Attempt.ResponseStatus, o.Attempt.RetryAfter, o.Next.QuietFor = 429, after, after
	return o
}

// quietFor is how long a lane will be quiet from now; 0 when it is not.
func (b *bundle) quietFor(t *testing.T, hook webhook.WebhookID) time.Duration {
	t.Helper()
	var left float64
	if err := b.db.GetContext(t.Context(), &left,
		`SELECT coalesce(greatest(extract(epoch FROM quiet_until - now()), 0), 0) FROM lanes WHERE webhook_id = $1`, hook.UUID()); err != nil {
		t.Fatal(err)
	}
	return time.Duration(left * float64(time.Second))
}

// endQuiet lets the time come for which a lane was quiet.
func (b *bundle) endQuiet(t *testing.T) {
	t.Helper()
	b.exec(t, `UPDATE lanes SET quiet_until = now() - interval '1 millisecond' WHERE quiet_until IS NOT NULL`)
}

// quieten makes the lane of a webhook with a backlog quiet: of `window` admitted
// deliveries one was answered, the others are rung.
func (b *bundle) quieten(t *testing.T, hook webhook.WebhookID, after time.Duration) []webhook.DeliveryID {
	t.Helper()
	_, owed := b.accept(t, b.submission(t, "acme", window+2))
	owed = slices.DeleteFunc(owed, func(o webhook.Owed) bool { return o.Webhook != hook })
	claims, err := b.work.Claim(t.Context(), ids(owed[:1]), "h")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	adm, err := b.work.Record(t.Context(), []webhook.Outcome{tooMany(claims[0], webhook.Retrying, after)}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Ring: webhook.NoLimit, Holder: "h"})
	if err != nil || len(adm.Claimed)+len(adm.Rung)+len(adm.Again)+len(adm.Lost) != 0 {
		t.Fatalf("recording a 429 admitted %+v, %v", adm, err)
	}
	if got := b.quietFor(t, hook); got < after-5*time.Second || got > after {
		t.Fatalf("quiet for %s, want %s", got, after)
	}
	return ids(owed[1:])
}

func TestI10_retryAfterHoldsTheWholeWebhook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	rung := b.quieten(t, hook, time.Minute)
	before := b.lane(t, hook)

	if claims, err := b.work.Claim(t.Context(), rung, "h"); err != nil || len(claims) != 0 {
		t.Errorf("claimed of a quiet lane: %d, %v", len(claims), err)
	}
	if adm, err := b.work.Admit(t.Context(), []webhook.WebhookID{hook}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Ring: webhook.NoLimit, Holder: "h"}); err != nil || len(adm.Claimed)+len(adm.Rung)+len(adm.Again) != 0 {
		t.Errorf("admitted to a quiet lane: %+v, %v", adm, err)
	}
	for name, sub := range map[string]webhook.Submission{"small": b.submission(t, "acme", 1), "large": b.submission(t, "acme", 1)} {
		var owed []webhook.Owed
		var err error
		if name == "large" {
			_, owed, err = b.events.AcceptLarge(t.Context(), sub)
		} else {
			_, owed = b.accept(t, sub)
		}
		if err != nil || len(owed) != 0 {
			t.Errorf("%s: accepting for a quiet lane rings for %d, %v", name, len(owed), err)
		}
	}
	b.exec(t, `UPDATE pending_deliveries SET rung_at = now() - interval '1 hour', due_at = due_at - interval '1 hour' WHERE due_at <= now()`)
	if owed, err := b.relay.Unclaimed(t.Context(), 0, false, 100); err != nil || len(owed) != 0 {
		t.Errorf("the relay rings for %d of a quiet lane, %v", len(owed), err)
	}
	if hooks, err := b.relay.WithRoom(t.Context(), window, time.Second, webhook.WebhookID{}, 100); err != nil || len(hooks) != 0 {
		t.Errorf("a quiet lane has room: %v, %v", hooks, err)
	}
	before.Queued, before.RowsQueued = before.Queued+2, before.RowsQueued+2
	if diff := cmp.Diff(before, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	var attempts int
	if err := b.db.GetContext(t.Context(), &attempts, `SELECT sum(attempts) FROM pending_deliveries`); err != nil || attempts != 1 {
		t.Errorf("attempts = %d, %v, want that of the 429 only", attempts, err)
	}
}

func TestI10_aQuietLaneGoesOnByItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	rung := b.quieten(t, hook, time.Minute)
	b.accept(t, b.submission(t, "acme", 1)) // due only now: no grace after a quiet
	withRoom := func() []webhook.WebhookID {
		t.Helper()
		hooks, err := b.relay.WithRoom(t.Context(), window, time.Hour, webhook.WebhookID{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		return hooks
	}
	b.endQuiet(t)
	if hooks := withRoom(); len(hooks) != 0 {
		t.Error("the lane has room beside what was rung for before it was quiet")
	}
	claims, err := b.work.Claim(t.Context(), rung[:1], "h")
	if err != nil || len(claims) != 1 {
		t.Fatalf("claimed %d, %v, want the one that was rung before", len(claims), err)
	}
	b.exec(t, `UPDATE pending_deliveries SET rung_at = now() - interval '3 seconds'`)
	owed, err := b.relay.Unclaimed(t.Context(), 2*time.Second, true, 100)
	if err != nil || len(owed) != window-2 {
		t.Errorf("the relay rings for %d, %v, want the %d others", len(owed), err, window-2)
	}
	for _, o := range owed {
		claims = append(claims, b.claim(t, o.Delivery))
	}
	for _, c := range claims {
		b.record(t, tooMany(c, webhook.Retrying, time.Minute))
	}
	if hooks := withRoom(); len(hooks) != 0 {
		t.Error("a quiet lane has room")
	}
	b.endQuiet(t)
	hooks := withRoom()
	if len(hooks) != 1 {
		t.Fatalf("lanes with room = %v, want this one at once", hooks)
	}
	if adm, err := b.work.Admit(t.Context(), hooks, webhook.Room{Ring: webhook.NoLimit}); err != nil || len(adm.Rung) != 1 {
		t.Errorf("admitted %d, %v, want one to begin with", len(adm.Rung), err)
	}
}

func TestI10_retryAfterIsNeverShortened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 3))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 3 {
		t.Fatal(claims, err)
	}
	// The last answer of a delivery counts, too.
	for i, o := range []webhook.Outcome{
		tooMany(claims[0], webhook.Failed, time.Hour), tooMany(claims[1], webhook.Retrying, time.Minute), outcome(claims[2], webhook.Succeeded),
	} {
		if _, err := b.work.Record(t.Context(), []webhook.Outcome{o}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
			t.Fatal(err)
		}
		if got := b.quietFor(t, hook); got < 59*time.Minute {
			t.Errorf("after outcome %d: quiet for %s, want an hour", i, got)
		}
	}
}

func TestI10_quietIsForOneWebhookOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	noisy, other := b.webhook(t, "acme", "*"), b.webhook(t, "acme", "*")
	b.quieten(t, noisy, time.Minute)
	if got := b.quietFor(t, other); got != 0 {
		t.Errorf("the other one is quiet for %s", got)
	}
	var rung []string
	if err := b.db.SelectContext(t.Context(), &rung, `SELECT delivery_id FROM pending_deliveries WHERE webhook_id = $1 AND admitted`, other.UUID()); err != nil {
		t.Fatal(err)
	}
	id, err := webhook.DeliveryIDFromUUID(rung[0])
	if err != nil {
		t.Fatal(err)
	}
	if claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{id}, "h"); err != nil || len(claims) != 1 {
		t.Errorf("claimed %d of the other one, %v", len(claims), err)
	}
}

func TestI10_whatEndsAQuiet(t *testing.T) {
	t.Parallel()
	change := func(edit func(*webhook.Webhook)) func(webhook.Webhook) (webhook.Webhook, error) {
		return func(w webhook.Webhook) (webhook.Webhook, error) { edit(&w); return w, nil }
	}
	for name, tc := range map[string]struct {
		edits []func(*webhook.Webhook)
		quiet bool
	}{
		"another name": {[]func(*webhook.Webhook){func(w *webhook.Webhook) { w.Name = "other" }}, true},
		"a pause":      {[]func(*webhook.Webhook){func(w *webhook.Webhook) { w.Status = webhook.Paused }}, true},
		"a resume": {[]func(*webhook.Webhook){
			func(w *webhook.Webhook) { w.Status = webhook.Paused }, func(w *webhook.Webhook) { w.Status = webhook.Active },
		}, false},
		"another URL": {[]func(*webhook.Webhook){func(w *webhook.Webhook) { w.URL = "https://other.example/" }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupManage(t)
			hook := b.create(t, newWebhook(t, "acme", "*"))
			b.quieten(t, hook, time.Minute)
			for _, edit := range tc.edits {
				if _, err := b.hooks.Update(t.Context(), "acme", hook, nowMs(), change(edit)); err != nil {
					t.Fatal(err)
				}
			}
			if got := b.quietFor(t, hook); (got > 0) != tc.quiet {
				t.Errorf("quiet for %s, want quiet: %t", got, tc.quiet)
			}
		})
	}
}

func TestI10_testSendsKnowNoQuiet(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	b.quieten(t, hook, time.Minute)
	typ, _ := webhook.ParseEventType("lead.created")
	send := func() webhook.Claim {
		owed, _, err := b.tests.Ask(t.Context(), hook, webhook.Event{ID: webhook.NewEventID(nowMs(), random(t)), Tenant: "acme", Type: typ, Body: "{}"})
		if err != nil {
			t.Fatal(err)
		}
		claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{owed.Delivery}, "h")
		if err != nil || len(claims) != 1 {
			t.Fatalf("claimed %d of a test send, %v", len(claims), err)
		}
		return claims[0]
	}
	if _, err := b.work.Record(t.Context(), []webhook.Outcome{tooMany(send(), webhook.Failed, time.Hour)}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
		t.Fatal(err)
	}
	if got := b.quietFor(t, hook); got > time.Minute {
		t.Errorf("a test's answer made the lane quiet for %s", got)
	}
}

func TestI10_aRetryByHandWaitsForAQuietLane(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	failed := b.fail(t, "acme")
	b.exec(t, `UPDATE lanes SET quiet_until = now() + interval '1 minute'`)
	if _, owed, err := b.deliveries.Retry(t.Context(), "acme", failed); err != nil || owed != nil {
		t.Errorf("a retry on a quiet lane rings: %v, %v", owed, err)
	}
	if diff := cmp.Diff(laneRow{0, 1, 0, 1}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}
