package postgres_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// log stores finished deliveries of the given types, one a millisecond from
// start on, and returns their ids, newest first.
func (b *manageBundle) log(t testing.TB, tenant webhook.TenantID, hook webhook.WebhookID, start time.Time, types ...string) []webhook.DeliveryID {
	t.Helper()
	var out []webhook.DeliveryID
	for i, typ := range types {
		event := webhook.NewEventID(start.Add(time.Duration(i)*time.Millisecond), random(t))
		id := webhook.DeliveryIDFor(event, hook)
		b.exec(t, `INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, event_type, status, attempt_count, max_attempts,
			last_duration_ms, completed_at) VALUES ($1, $2, $3, $4, $5, 'success', 1, 3, $6, now())`,
			id.UUID(), tenant, hook.UUID(), event.UUID(), typ, 10*(i+1))
		out = append(out, id)
	}
	slices.Reverse(out)
	return out
}

func repeat(typ string, n int) []string { return slices.Repeat([]string{typ}, n) }

func deliveryIDs(ds []webhook.Delivery) []webhook.DeliveryID {
	out := make([]webhook.DeliveryID, len(ds))
	for i, d := range ds {
		out[i] = d.ID
	}
	return out
}

// Every page of every list of five is what the definition says it is.
func TestDeliveries_pagesAreExact(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := webhook.NewWebhookID(time.Now(), random(t))
	b.log(t, "other", hook, time.Now(), repeat("a.b", 3)...)
	all := b.log(t, "acme", hook, time.Now(), repeat("a.b", 5)...)
	cursors := []*webhook.DeliveryID{nil}
	for i := range all {
		cursors = append(cursors, &all[i])
	}
	for _, after := range cursors {
		for _, before := range cursors {
			for _, limit := range []int{1, 2, 5} {
				for _, backward := range []bool{false, true} {
					p := webhook.Page[webhook.DeliveryID]{Limit: limit, After: after, Before: before, Backward: backward}
					got, err := b.deliveries.List(t.Context(), "acme", webhook.DeliveryFilter{}, p)
					if err != nil {
						t.Fatal(err)
					}
					want := naivePage(all, p)
					if diff := cmp.Diff(want, webhook.Slice[webhook.DeliveryID]{
						Items: deliveryIDs(got.Items), HasNext: got.HasNext, HasPrevious: got.HasPrevious,
					}, opaque()); diff != "" {
						t.Errorf("after %v before %v limit %d backward %v (-want +got)\n%s", after, before, limit, backward, diff)
					}
				}
			}
		}
	}
}

// naivePage follows the Relay specification, all in memory.
func naivePage(all []webhook.DeliveryID, p webhook.Page[webhook.DeliveryID]) webhook.Slice[webhook.DeliveryID] {
	from, to := 0, len(all)
	if p.After != nil {
		from = slices.Index(all, *p.After) + 1
	}
	if p.Before != nil {
		to = slices.Index(all, *p.Before)
	}
	if from > to { // the cursors cross: nothing is between them
		return webhook.Slice[webhook.DeliveryID]{Items: []webhook.DeliveryID{}, HasNext: true, HasPrevious: true}
	}
	if p.Backward {
		from = max(from, to-p.Limit)
	} else {
		to = min(to, from+p.Limit)
	}
	return webhook.Slice[webhook.DeliveryID]{Items: slices.Clone(all[from:to]), HasNext: to < len(all), HasPrevious: from > 0}
}

func TestDeliveries_walkingIsStableWhileRowsAreAdded(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := webhook.NewWebhookID(time.Now(), random(t))
	start := time.Now()
	all := b.log(t, "acme", hook, start, repeat("a.b", 10)...)
	for name, backward := range map[string]bool{"forward": false, "backward": true} {
		t.Run(name, func(t *testing.T) {
			var seen []webhook.DeliveryID
			p := webhook.Page[webhook.DeliveryID]{Limit: 3, Backward: backward}
			for more := true; more; {
				page, err := b.deliveries.List(t.Context(), "acme", webhook.DeliveryFilter{}, p)
				if err != nil || len(page.Items) == 0 {
					t.Fatal(page, err)
				}
				b.log(t, "acme", hook, time.Now().Add(time.Hour), repeat("new.one", 2)...)
				got := deliveryIDs(page.Items)
				if backward {
					seen, more, p.Before = append(got, seen...), page.HasPrevious, &got[0]
				} else {
					seen, more, p.After = append(seen, got...), page.HasNext, &got[len(got)-1]
				}
			}
			if backward { // it walked into the new ones, which are above
				seen = seen[len(seen)-len(all):]
			}
			if diff := cmp.Diff(all, seen, opaque()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			b.exec(t, `DELETE FROM deliveries WHERE event_type = 'new.one'`)
		})
	}
}

func TestDeliveries_filters(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	start := time.Date(2026, 11, 20, 23, 59, 59, int(998*time.Millisecond), time.UTC)
	first, second := b.create(t, newWebhook(t, "acme", "x.y")), b.create(t, newWebhook(t, "acme", "x.y"))
	a := b.log(t, "acme", first, start, "lead.created", "lead.updated", "lead.created", "lead.deleted") // 998, 999, 000, 001
	c := b.log(t, "acme", second, start.Add(time.Hour), "lead.created")
	b.exec(t, `UPDATE deliveries SET status = 'failed', failure_reason = 'receiver_gone' WHERE id = $1`, a[3].UUID())
	created, _ := webhook.ParseEventType("lead.created")
	deleted, _ := webhook.ParseEventType("lead.deleted")
	third, err := b.deliveries.Get(t.Context(), "acme", a[1])
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		filter webhook.DeliveryFilter
		want   []webhook.DeliveryID
	}{
		"none":             {webhook.DeliveryFilter{}, []webhook.DeliveryID{c[0], a[0], a[1], a[2], a[3]}},
		"webhook":          {webhook.DeliveryFilter{Webhook: &second}, c},
		"status":           {webhook.DeliveryFilter{Statuses: []webhook.DeliveryStatus{webhook.Failed, webhook.Pending}}, a[3:]},
		"types":            {webhook.DeliveryFilter{Events: []webhook.EventType{created, deleted}}, []webhook.DeliveryID{c[0], a[0], a[1], a[3]}},
		"rare and old":     {webhook.DeliveryFilter{Statuses: []webhook.DeliveryStatus{webhook.Failed}, CreatedBefore: start.AddDate(0, 1, 0)}, a[3:]},
		"type and webhook": {webhook.DeliveryFilter{Events: []webhook.EventType{created}, Webhook: &first}, []webhook.DeliveryID{a[1], a[3]}},
		"event":            {webhook.DeliveryFilter{Event: &third.EventID}, a[1:2]},
		"from a time on":   {webhook.DeliveryFilter{CreatedAfter: start.Add(time.Millisecond)}, []webhook.DeliveryID{c[0], a[0], a[1], a[2]}},
		"between two milliseconds": {
			webhook.DeliveryFilter{CreatedAfter: start.Add(time.Microsecond), CreatedBefore: start.Add(2*time.Millisecond + time.Nanosecond)}, a[1:3],
		},
		"before a time": {webhook.DeliveryFilter{CreatedBefore: start.Add(2 * time.Millisecond)}, a[2:]},
		"event and time apart": {
			webhook.DeliveryFilter{Event: &third.EventID, CreatedAfter: start.Add(time.Hour)}, nil,
		},
		"all times": {
			webhook.DeliveryFilter{CreatedAfter: time.Unix(math.MinInt32, 0), CreatedBefore: time.Unix(1<<50, 0)},
			[]webhook.DeliveryID{c[0], a[0], a[1], a[2], a[3]},
		},
	} {
		t.Run(name, func(t *testing.T) {
			page, err := b.deliveries.List(t.Context(), "acme", tc.filter, webhook.Page[webhook.DeliveryID]{Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			want := append([]webhook.DeliveryID{}, tc.want...)
			if diff := cmp.Diff(want, deliveryIDs(page.Items), opaque()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if n, err := b.deliveries.Count(t.Context(), "acme", tc.filter); err != nil || n != len(want) {
				t.Errorf("count = %d, %v, want %d", n, err, len(want))
			}
		})
	}
}

func TestDeliveries_carryTheirAttemptsAndPayload(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	sub := b.submission(t, "acme", 2)
	_, owed := b.accept(t, sub)
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 2 {
		t.Fatal(claims, err)
	}
	bad := outcome(claims[0], webhook.Failed)
	bad.Attempt.RequestHeaders = []webhook.Field{{Name: "User-Agent", Value: "x"}}
	bad.Attempt.ResponseBody = "sorry"
	bad.Attempt.StartedAt = nowMs()
	if _, err := b.work.Record(t.Context(), []webhook.Outcome{bad}, webhook.Room{Ring: webhook.NoLimit}); err != nil {
		t.Fatal(err)
	}
	id := claims[0].Delivery

	got, err := b.deliveries.Get(t.Context(), "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := webhook.ParseEventType("lead.created")
	want := webhook.Delivery{
		ID: id, Tenant: "acme", WebhookID: hook, EventID: claims[0].Event, EventType: typ, Kind: webhook.KindEvent,
		Status: webhook.Failed, FailureReason: webhook.AttemptsExhausted, AttemptCount: 1, MaxAttempts: 3,
		ResponseStatus: 500, LastError: "receiver answered 500", CreatedAt: claims[0].Event.Time(), CompletedAt: got.CompletedAt,
	}
	if diff := cmp.Diff(want, got, opaque(), cmp.Comparer(func(a, b webhook.EventID) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if age := time.Since(got.CompletedAt); age < 0 || age > time.Minute {
		t.Errorf("completed %s ago", age)
	}

	attempts, err := b.deliveries.Attempts(t.Context(), "acme", ids(owed), math.MaxInt)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[webhook.DeliveryID][]webhook.Attempt{id: {bad.Attempt}}, attempts, cmp.Comparer(func(a, b []webhook.Field) bool {
		return slices.Equal(a, b)
	})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	payloads, err := b.deliveries.Payloads(t.Context(), "acme", []webhook.EventID{sub.Events[0].Event.ID, sub.Events[1].Event.ID}, math.MaxInt)
	if err != nil || len(payloads) != 2 || payloads[sub.Events[1].Event.ID] != sub.Events[1].Event.Body {
		t.Errorf("payloads = %v, %v", payloads, err)
	}
}

// TestDeliveries_moreThanIsWantedIsNotLoaded: all of it comes when it fits, to the
// byte, and nothing when it does not.
func TestDeliveries_moreThanIsWantedIsNotLoaded(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	b.create(t, newWebhook(t, "acme", "*"))
	sub := b.submission(t, "acme", 2)
	_, owed := b.accept(t, sub)
	for _, d := range owed {
		o := outcome(b.claim(t, d.Delivery), webhook.Failed)
		o.Attempt.RequestHeaders, o.Attempt.ResponseBody = []webhook.Field{{Name: "User-Agent", Value: "é"}}, "sorry é"
		b.record(t, o)
	}
	events, size := []webhook.EventID{}, 0
	for _, e := range sub.Events {
		events, size = append(events, e.Event.ID), size+len(e.Event.Body)
	}
	if all, err := b.deliveries.Payloads(t.Context(), "acme", events, size); err != nil || len(all) != 2 {
		t.Errorf("payloads: %v, %v", all, err)
	}
	if all, err := b.deliveries.Payloads(t.Context(), "acme", events, size-1); !errors.Is(err, webhook.ErrLimitExceeded) || len(all) > 0 {
		t.Errorf("payloads, one byte less: %v, %v", all, err)
	}
	const texts = `SELECT sum(octet_length(concat(error, request_headers, response_headers, response_body))) FROM attempts`
	if err := b.db.GetContext(t.Context(), &size, texts); err != nil {
		t.Fatal(err)
	}
	if all, err := b.deliveries.Attempts(t.Context(), "acme", ids(owed), size); err != nil || len(all) != 2 {
		t.Errorf("attempts: %v, %v", all, err)
	}
	if all, err := b.deliveries.Attempts(t.Context(), "acme", ids(owed), size-1); !errors.Is(err, webhook.ErrLimitExceeded) || len(all) > 0 {
		t.Errorf("attempts, one byte less: %v, %v", all, err)
	}
}

func TestDeliveries_stats(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	w := newWebhook(t, "acme", "other.type")
	hook := b.create(t, w)
	start := nowMs().Add(-time.Hour)
	if s, err := b.deliveries.Stats(t.Context(), "acme", &hook, webhook.Period{}); err != nil || s != (webhook.Stats{}) {
		t.Errorf("before anything: %+v, %v", s, err)
	}
	done := b.log(t, "acme", hook, start, repeat("a.b", 100)...) // 10 to 1000 ms
	b.exec(t, `UPDATE deliveries SET status = 'failed', failure_reason = 'receiver_gone' WHERE id = ANY ($1::uuid[])`,
		fmt.Sprintf("{%s,%s}", done[0].UUID(), done[1].UUID()))
	waiting := b.log(t, "acme", webhook.NewWebhookID(time.Now(), random(t)), start, "a.b", "a.b", "a.b")
	b.exec(t, `UPDATE deliveries SET status = 'retrying', completed_at = NULL, next_attempt_at = now(), last_duration_ms = 99999 WHERE id = $1`, waiting[0].UUID())
	b.exec(t, `UPDATE deliveries SET status = 'pending', attempt_count = 0, completed_at = NULL, next_attempt_at = now(), last_duration_ms = NULL WHERE id = $1`, waiting[1].UUID())
	b.exec(t, `UPDATE deliveries SET kind = 'test' WHERE id = $1`, waiting[2].UUID())

	text := func(s webhook.Stats) string {
		average, p95 := time.Duration(0), time.Duration(0)
		if s.AverageDuration != nil {
			average, p95 = *s.AverageDuration, *s.P95Duration
		}
		return fmt.Sprint(s.Total, s.Pending, s.Retrying, s.Succeeded, s.Failed, average, p95)
	}
	for name, tc := range map[string]struct {
		hook   *webhook.WebhookID
		period webhook.Period
		want   string
	}{
		"tenant":  {nil, webhook.Period{}, "102 1 1 98 2 505ms 951ms"},
		"webhook": {&hook, webhook.Period{}, "100 0 0 98 2 505ms 951ms"},
		"period":  {&hook, webhook.Period{Since: start, Until: start.Add(2 * time.Millisecond)}, "2 0 0 2 0 15ms 20ms"},
		"since":   {&hook, webhook.Period{Since: start.Add(time.Hour)}, "0 0 0 0 0 0s 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := b.deliveries.Stats(t.Context(), "acme", tc.hook, tc.period)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, text(s)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// What several webhooks are asked for together is what each is asked for alone,
// and percentiles are never below the true ones, nor 1 % above.
func TestDeliveries_statsByWebhook(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	start := time.Now().Add(-time.Hour)
	hooks := []webhook.WebhookID{b.create(t, newWebhook(t, "acme", "x.y")), b.create(t, newWebhook(t, "acme", "x.y"))}
	b.log(t, "acme", hooks[0], start, repeat("a.b", 40)...)
	b.log(t, "acme", hooks[1], start, repeat("a.b", 3)...)
	b.exec(t, `UPDATE deliveries SET last_duration_ms = 30001 WHERE webhook_id = $1`, hooks[1].UUID())
	foreign := b.create(t, newWebhook(t, "other", "x.y"))
	b.log(t, "other", foreign, start, "a.b")
	idle := b.create(t, newWebhook(t, "acme", "x.y"))

	got, err := b.deliveries.StatsByWebhook(t.Context(), "acme", append([]webhook.WebhookID{foreign, idle}, hooks...), webhook.Period{})
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v, want those of two webhooks", got, err)
	}
	for _, hook := range hooks {
		alone, err := b.deliveries.Stats(t.Context(), "acme", &hook, webhook.Period{})
		if diff := cmp.Diff(alone, got[hook]); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	if p95 := *got[hooks[1]].P95Duration; p95 < 30001*time.Millisecond || p95 > 30301*time.Millisecond {
		t.Errorf("p95 = %s, want 30.001 s or at most 1 %% more", p95)
	}
	for most, want := range map[int]int{10: 10, 1000: 43} {
		if n, err := b.deliveries.Size(t.Context(), "acme", most); n != want || err != nil {
			t.Errorf("size up to %d = %d, %v", most, n, err)
		}
	}
}
