package graph_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
)

// TestRate_batchesCountTheirEvents: the edge has taken one event for the field,
// so 3 more are there for a batch of 4.
func TestRate_batchesCountTheirEvents(t *testing.T) {
	t.Parallel()
	const (
		event    = `{event: LEAD_CREATED, objectId: "1", object: {}}`
		allowed  = `mutation { dispatchEvents(inputs: [` + event + event + event + event + `]) { eventIds } }`
		oneEvent = `mutation { dispatchEvents(inputs: [` + event + `]) { eventIds } }`
		tooMany  = `mutation { dispatchEvents(inputs: [` + event + event + `]) { eventIds } }`
	)
	f := &fake{}
	s, err := graph.NewSchema(graph.Config{
		Management: f, Accept: f, Log: slog.New(slog.DiscardHandler), Events: limit.New(2, 3, now),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := as(t, acme, token.Service)
	for _, document := range []string{allowed, oneEvent} {
		if got := run(t, ctx, s, document, ""); len(got.Errors) > 0 {
			t.Fatal(got.Errors)
		}
	}
	f.accepted = nil
	got := run(t, ctx, s, tooMany, "")
	if code := got.code(t); code != "LIMIT_EXCEEDED" || got.Errors[0].Message != "events of this tenant must come at a lower rate" {
		t.Fatalf("%v, want LIMIT_EXCEEDED for events", got.Errors)
	}
	if wait := got.Errors[0].Extensions["retryAfterMs"]; wait != float64(500*time.Millisecond/time.Millisecond) {
		t.Errorf("retryAfterMs = %v, want 500", wait)
	}
	if f.accepted != nil {
		t.Error("refused, yet accepted")
	}
	if got := run(t, as(t, globex, token.Service), s, allowed, ""); len(got.Errors) > 0 {
		t.Errorf("another tenant: %v", got.Errors)
	}
}

// TestRate_dearRequestsCountForMore: a request that costs much, or has a large
// answer, is charged for it, answered or refused; one that does not is not.
func TestRate_dearRequestsCountForMore(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 1), size: 1_000_000, payloads: map[webhook.EventID]string{}}
	f.deliveries = deliveries(f.hooks[0], 100)
	for _, d := range f.deliveries {
		f.payloads[d.EventID] = `"` + strings.Repeat("x", 10<<10) + `"`
	}
	for document, charged := range map[string]int{
		`{ viewer { role } }`:                                                               0,
		`{ webhooks(first: 40) { nodes { id } } }`:                                          0,
		`{ webhookDeliveries(first: 100) { nodes { id } } }`:                                2,
		`{ webhookDeliveries(first: 100) { nodes { attempts { number } } } }`:               22,
		`{ webhookDeliveries(first: 2) { nodes { ` + pages(20, "payload") + `} } }`:         8,
		`{ webhookStats { total } }`:                                                        90,
		`{ a: webhookStats { total } b: webhookStats { total } c: webhookStats { total } }`: 271, // refused at the third
	} {
		requests := limit.New(1, 1_000, now)
		s, err := graph.NewSchema(graph.Config{Management: f, Accept: f, Log: slog.New(slog.DiscardHandler), Requests: requests})
		if err != nil {
			t.Fatal(err)
		}
		run(t, as(t, acme, token.Admin), s, document, "")
		if _, ok := requests.Take(acme, 1_000-charged+1); ok == (charged > 0) {
			t.Errorf("%s: charged not %d", document, charged)
		}
		if charged == 0 {
			continue
		}
		if wait, ok := requests.Take(acme, 1_000-charged); !ok {
			t.Errorf("%s: charged %s more than %d", document, wait, charged)
		}
		if _, ok := requests.Take(globex, 1_000); !ok {
			t.Errorf("%s: another tenant was charged", document)
		}
	}
}

// TestTestWebhook_waitsAside: a test send that waits for its receiver keeps nothing
// of its tenant's from going on, and there may be only so many.
func TestTestWebhook_waitsAside(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	sent, answered := make(chan struct{}), make(chan struct{})
	f.testing = func() { close(sent); <-answered }
	s := newSchema(t, f)
	places := limit.NewPlaces(limit.PlacesConfig{Tenant: 1, Patience: time.Minute, Queue: 1, Aside: 1})
	test := func() answer {
		place, ok := places.Take(t.Context(), acme, 1)
		if !ok {
			t.Error("no place")
		}
		defer place.Leave()
		return run(t, limit.WithPlace(as(t, acme, token.Admin), place), s, withIDs(operations()["testWebhook"], ours), "")
	}
	done := make(chan answer, 1)
	go func() { done <- test() }() // waited for below
	<-sent
	got := test() // has the place that the first one left
	if got.code(t) != "LIMIT_EXCEEDED" || got.Errors[0].Message != "test sends of this tenant must be fewer at a time" || got.Errors[0].Extensions["retryAfterMs"] != 1000.0 {
		t.Errorf("a second test send: %v", got.Errors)
	}
	close(answered)
	if got := <-done; len(got.Errors) > 0 || got.at(t, "testWebhook.success") != true {
		t.Errorf("the first one: %v %v", got.Data, got.Errors)
	}
}
