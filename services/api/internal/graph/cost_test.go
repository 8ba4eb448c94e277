package graph_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// TestLimits_cost: what is just allowed is answered, what is just over is refused
// by a limit that says what to do, before it is loaded.
func TestLimits_cost(t *testing.T) {
	t.Parallel()
	const tooMany, tooMuch = "query must count less", "query must select less"
	repeated := func(n int, field string) string { return "{" + pages(n, field) + "}" }
	for name, tc := range map[string]struct {
		allowed, refused string
		size             int // of the log
		message          string
	}{
		"statistics of a large tenant":  {repeated(2, `webhookStats { total }`), repeated(3, `webhookStats { total }`), 1_000_000, tooMany},
		"statistics of a medium tenant": {repeated(21, `webhookStats { total }`), repeated(22, `webhookStats { total }`), 10_000, "query must"},
		"statistics of a page": {
			`{ webhooks(first: 100) { nodes { stats { total } again: stats { failed } } } }`,
			`{ webhooks(first: 100) { nodes { stats { total } other: stats(since: "2026-11-01T00:00:00Z") { total } } } }`, 1_000_000, tooMany,
		},
		"totalCount":         {repeated(2, `webhookDeliveries { totalCount }`), repeated(3, `webhookDeliveries { totalCount }`), 1_000_000, tooMany},
		"totalCount nested":  {`{ webhooks(first: 2) { nodes { deliveries { totalCount } } } }`, `{ webhooks(first: 3) { nodes { deliveries { totalCount } } } }`, 1_000_000, tooMany},
		"lists by status":    {repeated(2, `webhookDeliveries(filter: {status: FAILED}) { nodes { id } }`), repeated(3, `webhookDeliveries(filter: {status: FAILED}) { nodes { id } }`), 1_000_000, tooMany},
		"lists by type":      {repeated(2, `webhookDeliveries(filter: {event: LEAD_CREATED}) { nodes { id } }`), repeated(3, `webhookDeliveries(filter: {event: LEAD_CREATED}) { nodes { id } }`), 1_000_000, tooMany},
		"deliveries nested":  {`{ webhooks(first: 90) { nodes { deliveries(first: 90) { nodes { id } } } } }`, `{ webhooks(first: 91) { nodes { deliveries(first: 90) { nodes { id } } } } }`, 0, tooMuch},
		"attempts of a page": {`{` + pages(9, `webhookDeliveries(first: 100) { nodes { attempts { number } } }`) + `}`, `{` + pages(10, `webhookDeliveries(first: 100) { nodes { attempts { number } } }`) + `}`, 0, tooMuch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{hooks: webhooks(acme, 0, 100), size: tc.size}
			f.deliveries = deliveries(f.hooks[0], 100)
			if got := runAs(t, f, tc.allowed, ""); len(got.Errors) > 0 {
				t.Errorf("just allowed: %v", got.Errors)
			}
			got := runAs(t, f, tc.refused, "")
			if len(got.Errors) == 0 {
				t.Fatal("just over: answered")
			}
			for _, e := range got.Errors {
				if e.Extensions["code"] != "LIMIT_EXCEEDED" || !strings.HasPrefix(e.Message, tc.message) {
					t.Errorf("just over: %v, want LIMIT_EXCEEDED and %s", e, tc.message)
				}
			}
		})
	}
}

// TestLimits_costToTheLast: what uses up all of it, and loads nothing beyond, is
// answered.
func TestLimits_costToTheLast(t *testing.T) {
	t.Parallel()
	for n, refused := range map[int]bool{100: false, 101: true} {
		f := &fake{hooks: webhooks(acme, 0, 1)}
		got := runAs(t, f, `{`+pages(n, `webhooks(first: 100) { nodes { id } }`)+`}`, "")
		if (len(got.Errors) > 0) != refused {
			t.Errorf("%d pages of 100: %v", n, got.Errors)
		}
		for _, e := range got.Errors {
			if e.Message == "" {
				t.Error("an error says nothing")
			}
		}
	}
}

// TestLimits_sizeOfAnswers: few large payloads are as much as many small ones.
func TestLimits_sizeOfAnswers(t *testing.T) {
	t.Parallel()
	for kib, refused := range map[int]bool{64: false, 256: true} {
		f := &fake{hooks: webhooks(acme, 0, 1), payloads: map[webhook.EventID]string{}}
		f.deliveries = deliveries(f.hooks[0], 100)
		for _, d := range f.deliveries {
			f.payloads[d.EventID] = `"` + strings.Repeat("x", kib<<10) + `"`
		}
		got := runAs(t, f, `{ webhookDeliveries(first: 100) { nodes { payload } } }`, "")
		if (len(got.Errors) > 0) != refused {
			t.Errorf("100 payloads of %d KiB: %v", kib, got.Errors)
		}
		if refused && got.Errors[0].Extensions["code"] != "LIMIT_EXCEEDED" {
			t.Error(got.Errors[0])
		}
	}
}

// TestStats_ofAPageAreLoadedOnce: also when the page's webhooks hang below
// deliveries, many of which have the same one.
func TestStats_ofAPageAreLoadedOnce(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]int{
		`{ webhooks { nodes { stats { total } again: stats { failed } } edges { node { stats { total } } } } }`:                          1,
		`{ webhookDeliveries(first: 100) { nodes { webhook { stats { total } } again: webhook { stats { total } } } } }`:                 1,
		`{ webhooks { nodes { stats { total } week: stats(since: "2026-11-16T00:00:00Z", until: "2026-11-23T00:00:00Z") { total } } } }`: 2,
	} {
		f := &fake{hooks: webhooks(acme, 0, 4)}
		for _, w := range f.hooks {
			f.deliveries = append(f.deliveries, deliveries(w, 5)...)
		}
		got := runAs(t, f, document, "")
		if len(got.Errors) > 0 || f.calls["StatsByWebhook"] != want {
			t.Errorf("%s: loaded %d times, want %d; %v", document, f.calls["StatsByWebhook"], want, got.Errors)
		}
		if text := fmt.Sprint(got.Data); !strings.Contains(text, "total:5") {
			t.Errorf("%s: %s, want 5 deliveries for each", document, text)
		}
	}
}
