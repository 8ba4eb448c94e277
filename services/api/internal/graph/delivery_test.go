package graph_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestWebhookDelivery_showsEverything(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	f.payloads[ours.EventID] = `{"id":"x"}`
	f.deliveries[0].FailureReason = webhook.AttemptsExhausted
	f.deliveries[0].AttemptCount, f.deliveries[0].ResponseStatus, f.deliveries[0].LastError = 2, 500, "answered 500"
	f.deliveries[0].CompletedAt = now().Add(time.Second)
	f.attempts = map[webhook.DeliveryID][]webhook.Attempt{ours.ID: {
		{Number: 1, StartedAt: now(), Duration: 1500 * time.Millisecond, ErrorClass: webhook.ClassTimeout, Error: "timed out"},
		{
			Number: 2, StartedAt: now(), ResponseStatus: 500, ErrorClass: webhook.ClassStatus, Error: "answered 500",
			RequestHeaders: []webhook.Field{{Name: "Crm-Attempt", Value: "2"}}, ResponseHeaders: []webhook.Field{{Name: "Server", Value: "x"}},
		},
	}}
	got := runAs(t, f, withIDs(`{ webhookDelivery(id: "$delivery") { id eventId eventType webhookId webhook { id } status failureReason payload
		attemptCount maxAttempts nextAttemptAt responseStatus lastError createdAt completedAt
		attempts { number startedAt durationMs responseStatus errorClass error requestHeaders { name value } responseHeaders { name value } responseBody } } }`, ours), "")
	want := map[string]any{
		"id": ours.ID.String(), "eventId": ours.EventID.String(), "eventType": "webhook.test", "webhookId": ours.WebhookID.String(),
		"webhook": map[string]any{"id": ours.WebhookID.String()}, "status": "FAILED", "failureReason": "ATTEMPTS_EXHAUSTED",
		"payload": map[string]any{"id": "x"}, "attemptCount": 2.0, "maxAttempts": 3.0, "nextAttemptAt": nil, "responseStatus": 500.0,
		"lastError": "answered 500", "createdAt": "2026-11-23T12:00:00.000Z", "completedAt": "2026-11-23T12:00:01.000Z",
		"attempts": []any{
			map[string]any{
				"number": 1.0, "startedAt": "2026-11-23T12:00:00.000Z", "durationMs": 1500.0, "responseStatus": nil, "errorClass": "TIMEOUT",
				"error": "timed out", "requestHeaders": []any{}, "responseHeaders": []any{}, "responseBody": nil,
			},
			map[string]any{
				"number": 2.0, "startedAt": "2026-11-23T12:00:00.000Z", "durationMs": 0.0, "responseStatus": 500.0, "errorClass": "STATUS",
				"error": "answered 500", "requestHeaders": []any{map[string]any{"name": "Crm-Attempt", "value": "2"}},
				"responseHeaders": []any{map[string]any{"name": "Server", "value": "x"}}, "responseBody": "",
			},
		},
	}
	if diff := cmp.Diff(want, got.at(t, "webhookDelivery")); diff != "" {
		t.Errorf("%s %v", diff, got.Errors)
	}
}

// TestDeliveries_eachKindIsLoadedOnce: what a page needs is one statement,
// whatever its size.
func TestDeliveries_eachKindIsLoadedOnce(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 4), payloads: map[webhook.EventID]string{}}
	for _, w := range f.hooks {
		f.deliveries = append(f.deliveries, deliveries(w, 25)...)
	}
	for _, d := range f.deliveries {
		f.payloads[d.EventID] = `{}`
	}
	got := runAs(t, f, `{ webhookDeliveries(first: 100) { nodes { id webhook { name } payload attempts { number } } edges { node { webhook { id } again: payload } } totalCount } }`, "")
	if len(got.Errors) > 0 {
		t.Fatal(got.Errors)
	}
	want := map[string]int{"Deliveries": 1, "CountDeliveries": 1, "WebhooksByID": 1, "PayloadsByEvent": 1, "AttemptsByDelivery": 1, "LogSize": 1}
	if diff := cmp.Diff(want, f.calls); diff != "" {
		t.Error(diff)
	}
}

func TestDeliveries_deletedWebhookIsNull(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	f.hooks = f.hooks[1:]
	got := runAs(t, f, withIDs(`{ webhookDelivery(id: "$delivery") { webhookId webhook { id } } }`, ours), "")
	want := map[string]any{"webhookId": ours.WebhookID.String(), "webhook": nil}
	if diff := cmp.Diff(want, got.at(t, "webhookDelivery")); diff != "" {
		t.Error(diff)
	}
}

func TestDeliveries_filter(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	got := runAs(t, f, withIDs(`{ webhookDeliveries(webhookId: "$hook", filter: {status: [PENDING, SUCCESS], event: [LEAD_CREATED],
		createdAfter: "2026-11-23T10:00:00Z", createdBefore: "2026-11-23T11:00:00Z", eventId: "`+ours.EventID.String()+`"}) { nodes { id } } }`, ours), "")
	if len(got.Errors) > 0 {
		t.Fatal(got.Errors)
	}
	filter := f.filtered
	if *filter.Webhook != ours.WebhookID || *filter.Event != ours.EventID || fmt.Sprint(filter.Statuses) != "[pending success]" ||
		fmt.Sprint(filter.Events) != "[lead.created]" || filter.CreatedAfter.Hour() != 10 || filter.CreatedBefore.Hour() != 11 {
		t.Errorf("filter = %+v", filter)
	}
	got = runAs(t, f, `{ webhookDeliveries(filter: {createdAfter: "2026-11-23T12:00:00Z", createdBefore: "2026-11-23T11:00:00Z"}) { nodes { id } } }`, "")
	if code := got.code(t); code != "BAD_USER_INPUT" || got.Errors[0].Message != "filter.createdAfter must not be after createdBefore" {
		t.Errorf("errors = %v", got.Errors)
	}
	f.calls = nil
	got = runAs(t, f, `{ webhookDeliveries(filter: {eventId: "evt_1"}) { nodes { id } totalCount } }`, "")
	if n := got.at(t, "webhookDeliveries.totalCount"); n != 0.0 || len(f.calls) > 0 {
		t.Errorf("totalCount = %v, calls = %v", n, f.calls)
	}
}

func TestRetryWebhookDelivery(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	document := withIDs(`mutation { retryWebhookDelivery(id: "$delivery") { delivery { status } userErrors { message field code } } }`, ours)
	got := runAs(t, f, document, "")
	if status := got.at(t, "retryWebhookDelivery.delivery.status"); status != "PENDING" {
		t.Errorf("status = %v, errors %v", status, got.Errors)
	}
	f.deliveries[0].Status = webhook.Succeeded
	got = runAs(t, f, document, "")
	if diff := cmp.Diff([]string{"id CONFLICT: id must be of a failed delivery"}, shownErrors(t, got, "retryWebhookDelivery.userErrors")); diff != "" {
		t.Error(diff)
	}
}

func TestStats_period(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	got := runAs(t, f, `{ webhookStats(since: "2026-11-23T12:00:00Z", until: "2026-11-23T11:00:00Z") { total } }`, "")
	if code := got.code(t); code != "BAD_USER_INPUT" || got.Errors[0].Message != "since must not be after until" {
		t.Errorf("errors = %v", got.Errors)
	}
	got = runAs(t, f, withIDs(`{ webhook(id: "$hook") { stats(since: "2026-11-23T10:00:00Z") { total pending retrying succeeded failed successRate averageDurationMs p95DurationMs } } }`, ours), "")
	want := map[string]any{
		"total": 1.0, "pending": 0.0, "retrying": 0.0, "succeeded": 0.0, "failed": 0.0,
		"successRate": nil, "averageDurationMs": nil, "p95DurationMs": nil,
	}
	if diff := cmp.Diff(want, got.at(t, "webhook.stats")); diff != "" {
		t.Errorf("%s %v", diff, got.Errors)
	}
	if f.period.Since.Hour() != 10 || !f.period.Until.IsZero() {
		t.Errorf("period = %v, want an open end", f.period)
	}
}

// TestBudget_boundsNestedLists: depth and page sizes alone would allow a million
// deliveries in one answer.
func TestBudget_boundsNestedLists(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 100)}
	for _, w := range f.hooks {
		f.deliveries = append(f.deliveries, deliveries(w, 2)...)
	}
	for document, refused := range map[string]bool{
		`{ webhooks(first: 100) { nodes { stats { total } deliveries(first: 20) { totalCount nodes { id webhook { id } attempts { number } } } } } }`: false,
		`{ webhooks(first: 100) { nodes { deliveries(first: 100) { nodes { webhook { deliveries(first: 100) { nodes { id } } } } } } } }`:             true,
		`{ ` + strings.Repeat(`a`, 1) + `: webhookDeliveries(first: 100) { nodes { id } } b: webhookDeliveries(first: 100) { nodes { id } } }`:        false,
	} {
		got := runAs(t, f, document, "")
		if (len(got.Errors) > 0) != refused {
			t.Errorf("%s: errors = %v", document, got.Errors)
		}
		for _, e := range got.Errors {
			if e.Extensions["code"] != "LIMIT_EXCEEDED" {
				t.Errorf("%s: %v, want LIMIT_EXCEEDED", document, e)
			}
		}
	}
}
