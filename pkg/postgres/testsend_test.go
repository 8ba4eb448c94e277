package postgres_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func (b *manageBundle) ask(t testing.TB, hook webhook.WebhookID) webhook.Owed {
	t.Helper()
	owed, timeout, err := b.tests.Ask(t.Context(), hook, webhook.Event{
		ID: webhook.NewEventID(nowMs(), random(t)), Tenant: "acme", Type: webhook.TestEventType, Body: `{"test":1}`, TraceParent: "00-x",
	})
	if err != nil || timeout != webhook.DefaultTimeout {
		t.Fatal(timeout, err)
	}
	return owed
}

func TestTestSends_goOutWhateverTheStatusAndTakeNoSlot(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	b.set(t, "acme", hook, webhook.Paused)
	owed := b.ask(t, hook)
	if owed.Kind != webhook.KindTest || owed.Attempt != 1 {
		t.Errorf("owed = %+v", owed)
	}
	claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{owed.Delivery}, "h")
	if err != nil || len(claims) != 1 || claims[0].Body != `{"test":1}` || claims[0].LastAttempt != 1 || claims[0].TraceParent != "00-x" {
		t.Fatal(claims, err)
	}
	if done, err := b.tests.Cancel(t.Context(), "acme", owed.Delivery); err != nil || done {
		t.Errorf("canceled while under way: %v, %v", done, err)
	}
	if _, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], webhook.Succeeded)}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
		t.Fatal(err)
	}
	if done, err := b.tests.Cancel(t.Context(), "acme", owed.Delivery); err != nil || done {
		t.Errorf("canceled when finished: %v, %v", done, err)
	}
	d, err := b.deliveries.Get(t.Context(), "acme", owed.Delivery)
	if err != nil || d.Status != webhook.Succeeded || d.Kind != webhook.KindTest {
		t.Errorf("delivery = %+v, %v", d, err)
	}
	if diff := cmp.Diff(laneRow{}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

func TestTestSends_canceledIsNeverSent(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	for name, before := range map[string]string{
		"nobody came":     ``,
		"the worker died": `UPDATE pending_deliveries SET lease_until = now() - interval '1 s', lease_holder = 'dead'`,
	} {
		t.Run(name, func(t *testing.T) {
			owed := b.ask(t, hook)
			if before != "" {
				b.exec(t, before)
			}
			if done, err := b.tests.Cancel(t.Context(), "acme", owed.Delivery); err != nil || !done {
				t.Errorf("canceled = %v, %v, want true", done, err)
			}
			if claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{owed.Delivery}, "h"); err != nil || len(claims) != 0 {
				t.Errorf("claims = %d, %v, want 0", len(claims), err)
			}
			d, err := b.deliveries.Get(t.Context(), "acme", owed.Delivery)
			if err != nil || d.Status != webhook.Failed || d.FailureReason != webhook.Canceled || time.Since(d.CompletedAt) > time.Minute {
				t.Errorf("delivery = %+v, %v", d, err)
			}
		})
	}
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	if done, err := b.tests.Cancel(t.Context(), "acme", owed[0].Delivery); err != nil || done {
		t.Errorf("canceled an event's delivery: %v, %v", done, err)
	}
}

func TestTestSends_neverGoOutAgainOrLate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		claimed bool
		since   string // what happened to it
		ended   string // with this error; empty: it goes out
	}{
		"asked for right now":              {},
		"still in time":                    {since: `due_at = now() - interval '9 seconds'`},
		"its worker gave it back":          {claimed: true, since: `lease_until = NULL, lease_holder = NULL`},
		"its worker died right now":        {claimed: true, since: `lease_until = now() - interval '1 second'`, ended: "-"},
		"its worker died":                  {claimed: true, since: `lease_until = now() - interval '6 seconds'`, ended: "may have been made"},
		"nobody came while the api waited": {since: `due_at = now() - interval '11 seconds'`, ended: "no worker"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupManage(t)
			hook := b.create(t, newWebhook(t, "acme", "*")) // its timeout is 5 s
			owed := b.ask(t, hook)
			var claim webhook.Claim
			if tc.claimed {
				claim = b.claim(t, owed.Delivery)
			}
			b.exec(t, `UPDATE pending_deliveries SET rung_at = now() - interval '1 hour'`)
			if tc.since != "" {
				b.exec(t, `UPDATE pending_deliveries SET `+tc.since)
			}
			if err := b.relay.EndTests(t.Context(), 10); err != nil {
				t.Fatal(err)
			}
			d, err := b.deliveries.Get(t.Context(), "acme", owed.Delivery)
			if err != nil {
				t.Fatal(err)
			}
			if wantEnded := len(tc.ended) > 1; (d.FailureReason == webhook.Canceled) != wantEnded || d.Status.Finished() != wantEnded ||
				wantEnded && !strings.Contains(d.LastError, tc.ended) {
				t.Errorf("delivery = %+v", d)
			}
			want := 1
			if tc.ended != "" {
				want = 0
			}
			if rung, err := b.relay.Unclaimed(t.Context(), 0, false, 10); err != nil || len(rung) != want {
				t.Errorf("the relay rings for %d, %v, want %d", len(rung), err, want)
			}
			if claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{owed.Delivery}, "again"); err != nil || len(claims) != want {
				t.Errorf("claimed %d, %v, want %d", len(claims), err, want)
			}
			if tc.ended == "-" { // who is late may record it still
				b.record(t, outcome(claim, webhook.Succeeded))
			}
		})
	}
}

func TestRelay_endsNoTestThatIsUnderWay(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	_, events := b.accept(t, b.submission(t, "acme", 1))
	owed := b.ask(t, hook)
	claim := b.claim(t, owed.Delivery)
	b.exec(t, `UPDATE pending_deliveries SET due_at = now() - interval '1 hour'`)
	if err := b.relay.EndTests(t.Context(), 10); err != nil {
		t.Fatal(err)
	}
	b.record(t, outcome(claim, webhook.Succeeded), outcome(b.claim(t, events[0].Delivery), webhook.Succeeded))
}
