package manage_test

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const window = 2

// bundle is a Service over a real PostgreSQL, and the stores of a worker.
type bundle struct {
	*manage.Service
	bell   *bell
	events *postgres.Events
	work   *postgres.Work
}

func setup(t *testing.T) *bundle {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: postgrestest.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	keys, err := seal.ParseKeys("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{bell: &bell{}, events: postgres.NewEvents(db, window), work: postgres.NewWork(db, keys, window, time.Now)}
	b.Service = manage.New(manage.Config{
		Webhooks: postgres.NewWebhooks(db, keys), Deliveries: postgres.NewDeliveries(db, window), Tests: postgres.NewTestSends(db),
		Lanes: b.work, Doorbell: b.bell, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	return b
}

func settings(t *testing.T, headers ...webhook.Header) webhook.Settings {
	t.Helper()
	s, err := webhook.Draft{Name: "n", URL: "https://example.com/", Patterns: []string{"*"}, Headers: headers}.Parse(webhook.URLRules{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *bundle) create(t *testing.T, headers ...webhook.Header) webhook.Webhook {
	t.Helper()
	w, _, err := b.Create(t.Context(), "acme", "user-1", settings(t, headers...), "")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// accept stores n events and returns what may be sent.
func (b *bundle) accept(t *testing.T, n int) []webhook.DeliveryID {
	t.Helper()
	typ, _ := webhook.ParseEventType("lead.created")
	var sub webhook.Submission
	for i := range n {
		id := webhook.NewEventID(time.Now(), [10]byte{byte(i)})
		sub.Events = append(sub.Events, webhook.SubmittedEvent{Event: webhook.Event{ID: id, Tenant: "acme", Type: typ, Body: "{}"}})
	}
	_, owed, err := b.events.Accept(t.Context(), []webhook.Submission{sub})
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]webhook.DeliveryID, len(owed))
	for i, o := range owed {
		ids[i] = o.Delivery
	}
	return ids
}

// send plays a worker: it claims and records what the receiver would answer.
// Any goroutine may call it.
func (b *bundle) send(ctx context.Context, t *testing.T, id webhook.DeliveryID, status int) webhook.Claim {
	t.Helper()
	claims, err := b.work.Claim(ctx, []webhook.DeliveryID{id}, "worker")
	if err != nil || len(claims) != 1 {
		t.Errorf("claimed %d, %v, want 1", len(claims), err)
		return webhook.Claim{}
	}
	a := webhook.Attempt{Number: claims[0].Attempt, StartedAt: time.Now(), Duration: 7 * time.Millisecond, ResponseStatus: status}
	if !webhook.SuccessStatus(status) {
		a.ErrorClass, a.Error = webhook.ClassStatus, "receiver answered it"
	}
	next := webhook.Decide(claims[0].Policy, a, a.Number, 0) // the last attempt, whatever the budget
	if _, err := b.work.Record(ctx, []webhook.Outcome{{Claim: claims[0], Attempt: a, Next: next}}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
		t.Error(err)
	}
	return claims[0]
}

func TestI7_aSecretIsShownOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const own = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	w, secret, err := b.Create(t.Context(), "acme", "user-1", settings(t), own)
	if err != nil || secret.Reveal() != own {
		t.Fatal("the given secret does not come back", err)
	}
	other, generated, err := b.Create(t.Context(), "acme", "user-1", settings(t), "")
	if err != nil || len(generated.Key()) != 32 || generated.Equal(secret) || other.ID == w.ID {
		t.Error("no secret of 32 bytes was made", err)
	}
	_, _, err = b.Create(t.Context(), "acme", "user-1", settings(t), "whsec_c2hvcnQ=")
	faults := webhook.Faults(err)
	if len(faults) != 1 || faults[0].Kind != webhook.KindInvalid || faults[0].Field[0] != "secret" || strings.Contains(err.Error(), "c2hvcnQ") {
		t.Errorf("a short secret: %v", err)
	}

	_, rotated, until, err := b.Rotate(t.Context(), "acme", w.ID, time.Hour)
	if err != nil || rotated.Equal(secret) || time.Until(until) > time.Hour || time.Until(until) < 59*time.Minute {
		t.Errorf("rotating: until %s, %v", until, err)
	}
	claim := b.send(t.Context(), t, b.only(t, w.ID), 200)
	live := webhook.Live(claim.Secrets, time.Now())
	if len(live) != 2 || !live[0].Equal(rotated) || !live[1].Equal(secret) {
		t.Errorf("signing with %d secrets, want the new one, then the former", len(live))
	}
	for _, grace := range []time.Duration{-1, manage.MaxGrace + 1} {
		if _, _, _, err := b.Rotate(t.Context(), "acme", w.ID, grace); webhook.Faults(err) == nil {
			t.Errorf("grace %s was accepted", grace)
		}
	}
}

// only accepts an event and returns what it owes one webhook.
func (b *bundle) only(t *testing.T, hook webhook.WebhookID) webhook.DeliveryID {
	t.Helper()
	ids := b.accept(t, 1)
	for _, id := range ids {
		d, err := b.Delivery(t.Context(), "acme", id)
		if err != nil {
			t.Fatal(err)
		}
		if d.WebhookID == hook {
			return id
		}
	}
	t.Fatal("nothing owed")
	return webhook.DeliveryID{}
}

func TestUpdate_aMaskKeepsWhatItHides(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.create(t, webhook.Header{Name: "Authorization", Value: "Bearer secret"}, webhook.Header{Name: "X-A", Value: "1"})
	mask := webhook.MaskHeader(w.Headers[0]).Value
	update := func(headers ...webhook.Header) (webhook.Webhook, error) {
		return b.Update(t.Context(), "acme", w.ID, webhook.Change{Headers: &headers})
	}
	got, err := update(webhook.Header{Name: "authorization", Value: mask}, webhook.Header{Name: "X-A", Value: "2"})
	if err != nil {
		t.Fatal(err)
	}
	want := []webhook.Header{{Name: "authorization", Value: "Bearer secret"}, {Name: "X-A", Value: "2"}}
	if !cmp.Equal(want, got.Headers) {
		t.Error("headers are not the former value and the new one")
	}
	_, err = update(webhook.Header{Name: "X-Api-Key", Value: mask})
	faults := webhook.Faults(err)
	if len(faults) != 1 || strings.Join(faults[0].Field, ".") != "headers.0.value" {
		t.Errorf("a mask that hides nothing: %v", err)
	}
}

// Who may change a webhook and test it could otherwise have the request sent to a
// receiver of their own, and read there what every answer hides.
func TestI7_movingAWebhookDoesNotShowWhatIsHidden(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.create(t, webhook.Header{Name: "Authorization", Value: "Bearer secret"})
	masked := []webhook.Header{{Name: "Authorization", Value: webhook.MaskHeader(w.Headers[0]).Value}}
	given := []webhook.Header{{Name: "Authorization", Value: "Bearer secret"}}
	elsewhere := "https://elsewhere.example/"
	for field, headers := range map[string]*[]webhook.Header{"headers": nil, "headers.0.value": &masked} {
		_, err := b.Update(t.Context(), "acme", w.ID, webhook.Change{URL: &elsewhere, Headers: headers})
		if faults := webhook.Faults(err); len(faults) != 1 || faults[0].Kind != webhook.KindInvalid || strings.Join(faults[0].Field, ".") != field {
			t.Errorf("moved: %v, want a fault of %s", err, field)
		}
	}
	if got, err := b.Webhook(t.Context(), "acme", w.ID); err != nil || got.URL != w.URL {
		t.Errorf("the webhook is at %s, %v", got.URL, err)
	}
	if _, err := b.Update(t.Context(), "acme", w.ID, webhook.Change{URL: &elsewhere, Headers: &given}); err != nil {
		t.Errorf("moving with the headers given anew: %v", err)
	}
}

func TestUpdate_resumingRingsForWhatWasHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.create(t)
	paused, active := webhook.Paused, webhook.Active
	got, err := b.Update(t.Context(), "acme", w.ID, webhook.Change{Status: &paused, By: "user-2"})
	if err != nil || got.Status != webhook.Paused || got.StatusReason != "paused by user-2" {
		t.Fatal(got, err)
	}
	if ids := b.accept(t, 5); len(ids) != 0 {
		t.Fatalf("admitted %d while paused", len(ids))
	}
	if _, err := b.Update(t.Context(), "acme", w.ID, webhook.Change{Status: &active}); err != nil {
		t.Fatal(err)
	}
	if len(b.bell.rung) != window {
		t.Errorf("rang for %d, want the window of %d", len(b.bell.rung), window)
	}
	if _, err := b.Update(t.Context(), "acme", w.ID, webhook.Change{Status: &active}); err != nil || len(b.bell.rung) != window {
		t.Errorf("resuming an active webhook rang for %d more, %v", len(b.bell.rung)-window, err)
	}
}

func TestRetry_ringsAsAReplay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.create(t)
	first, second := b.only(t, w.ID), b.only(t, w.ID)
	b.send(t.Context(), t, first, 500)
	b.send(t.Context(), t, second, 500)
	d, err := b.Retry(t.Context(), "acme", first)
	if err != nil || d.Status != webhook.Pending || len(b.bell.replayed) != 1 || b.bell.replayed[0].Attempt != 2 {
		t.Fatal(d, b.bell.replayed, err)
	}
	// With one in line that waits for its time, the next one still goes at once.
	claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{first}, "worker")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	_, err = b.work.Record(t.Context(), []webhook.Outcome{{
		Claim:   claims[0],
		Attempt: webhook.Attempt{Number: 2, StartedAt: time.Now(), ResponseStatus: 500, ErrorClass: webhook.ClassStatus, Error: "500"},
		Next:    webhook.Next{Status: webhook.Retrying, Delay: time.Hour},
	}}, webhook.Room{Ring: webhook.NoLimit})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Retry(t.Context(), "acme", second); err != nil {
		t.Fatal(err)
	}
	if len(b.bell.replayed) != 2 || b.bell.replayed[1].Delivery != second {
		t.Errorf("rang for %v, want %s at last", b.bell.replayed, second)
	}
}

func TestTest_endToEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := b.create(t)
	ctx := context.WithoutCancel(t.Context())
	for name, tc := range map[string]struct {
		status int
		want   string
	}{"2xx": {200, ""}, "500": {500, "receiver answered it"}} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan struct{})
			b.bell.ring = func(owed []webhook.Owed) {
				go func() { // waited for below
					defer close(sent)
					b.send(ctx, t, owed[0].Delivery, tc.status)
				}()
			}
			r, err := b.Test(t.Context(), "acme", w.ID, nil)
			<-sent
			if err != nil {
				t.Fatal(err)
			}
			if r.Success != (tc.want == "") || r.ResponseStatus != tc.status || r.Duration != 7*time.Millisecond || r.Error != tc.want ||
				!r.Delivery.Status.Finished() || r.Delivery.Kind != webhook.KindTest {
				t.Errorf("result = %+v", r)
			}
			payloads, err := b.PayloadsByEvent(t.Context(), "acme", []webhook.EventID{r.Delivery.EventID}, math.MaxInt)
			if err != nil || !strings.Contains(payloads[r.Delivery.EventID], `"type":"webhook.test"`) {
				t.Errorf("payload = %v, %v", payloads, err)
			}
		})
	}
	stats, err := b.Stats(t.Context(), "acme", &w.ID, webhook.Period{})
	if err != nil || stats.Total != 0 {
		t.Errorf("tests count as %d deliveries, %v, want none", stats.Total, err)
	}
}

func TestTest_nobodyComes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	half := int32(500)
	w := b.create(t)
	if _, err := b.Update(t.Context(), "acme", w.ID, webhook.Change{PolicyDraft: webhook.PolicyDraft{TimeoutMs: &half}}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	r, err := b.Test(t.Context(), "acme", w.ID, nil)
	if err != nil || r.Success || r.Error != "no worker took the test within 2.5s; is a worker running?" || r.Delivery.FailureReason != webhook.Canceled {
		t.Errorf("result = %+v, %v", r, err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %s, want at most the timeout and 2 s", took)
	}
	if claims, err := b.work.Claim(t.Context(), []webhook.DeliveryID{r.Delivery.ID}, "late"); err != nil || len(claims) != 0 {
		t.Errorf("claims = %d, %v, want 0", len(claims), err)
	}
}

func TestReads_refuseBadArguments(t *testing.T) {
	t.Parallel()
	s := manage.New(manage.Config{}) // nothing is asked of any store
	for _, limit := range []int{-1, 0, webhook.MaxPageSize + 1} {
		if _, err := s.Webhooks(t.Context(), "acme", webhook.WebhookFilter{}, webhook.Page[webhook.WebhookID]{Limit: limit}); webhook.Faults(err) == nil {
			t.Errorf("first: %d was accepted", limit)
		}
		_, err := s.Deliveries(t.Context(), "acme", webhook.DeliveryFilter{}, webhook.Page[webhook.DeliveryID]{Limit: limit, Backward: true})
		if faults := webhook.Faults(err); len(faults) != 1 || faults[0].Field[0] != "last" {
			t.Errorf("last: %d: %v", limit, err)
		}
	}
	for _, text := range []string{"a\x00b", "\xff"} {
		if _, err := s.CountWebhooks(t.Context(), "acme", webhook.WebhookFilter{Search: text}); webhook.Faults(err) == nil {
			t.Errorf("search for %q was accepted", text)
		}
	}
}
