package graph_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
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
