package graph_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
)

const secretText = "pq: password of host db-7"

// errorCase is one row of the mapper: what a use case says, what a query answers,
// and which code a userError has (empty: a top-level error in mutations, too).
type errorCase struct {
	err       error
	code      string
	message   string
	userError string
	logged    bool
}

func errorCases() map[string]errorCase {
	const away = "temporarily unavailable, try again"
	return map[string]errorCase{
		"invalid":            {webhook.Invalid("url", "must be a valid URL"), "BAD_USER_INPUT", "url must be a valid URL", "INVALID", false},
		"wrapped":            {fmt.Errorf("updating: %w", webhook.Invalid("url", "must be")), "BAD_USER_INPUT", "url must be", "INVALID", false},
		"several":            {webhook.Errors{webhook.Invalid("a", "must be"), webhook.Invalid("b", "must")}, "BAD_USER_INPUT", "a must be", "INVALID", false},
		"conflict":           {webhook.Conflict("status", "must not be so"), "BAD_USER_INPUT", "status must not be so", "CONFLICT", false},
		"limit":              {webhook.LimitExceeded("", "a tenant can have 100"), "LIMIT_EXCEEDED", "a tenant can have 100", "LIMIT_EXCEEDED", false},
		"unavailable":        {webhook.Unavailable(errors.New(secretText)), "UNAVAILABLE", away, "", true},
		"some unavailable":   {webhook.Errors{webhook.Unavailable(nil), webhook.Invalid("b", "must")}, "UNAVAILABLE", away, "", true},
		"deadline":           {fmt.Errorf("reading: %w", context.DeadlineExceeded), "UNAVAILABLE", away, "", true},
		"unknown":            {errors.New(secretText), "INTERNAL", "internal error", "", true},
		"unknown and caused": {fmt.Errorf("x: %w", errors.Join(errors.New(secretText))), "INTERNAL", "internal error", "", true},
	}
}

// logged is a schema whose log can be read.
func logged(t *testing.T, f *fake) (*graph.Schema, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	s, err := graph.NewSchema(graph.Config{Management: f, Accept: f, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return s, &log
}

func TestErrors_ofQueries(t *testing.T) {
	t.Parallel()
	_, ours, _ := tenants()
	for name, tc := range errorCases() {
		for _, document := range []string{
			`{ webhook(id: "$hook") { id } }`, `{ webhooks { nodes { id } } }`, `{ webhooks { totalCount } }`,
			`{ webhookDelivery(id: "$delivery") { id } }`, `{ webhookDeliveries { edges { cursor } } }`, `{ webhookStats { total } }`,
		} {
			f := &fake{err: tc.err}
			s, log := logged(t, f)
			ctx := obs.WithRequestID(as(t, acme, token.Admin), "req-1")
			got := run(t, ctx, s, withIDs(document, ours), "")
			if code := got.code(t); code != tc.code || got.Errors[0].Message != tc.message {
				t.Errorf("%s: %s: %v, want %s: %s", name, document, got.Errors, tc.code, tc.message)
			}
			if id := got.Errors[0].Extensions["requestId"]; (id == "req-1") != (tc.code == "INTERNAL") {
				t.Errorf("%s: requestId = %v", name, id)
			}
			if lines := strings.Count(log.String(), "\n"); (lines == 1) != tc.logged {
				t.Errorf("%s: %s: logged %d lines: %s", name, document, lines, log)
			}
		}
	}
}

func TestErrors_ofMutations(t *testing.T) {
	t.Parallel()
	_, ours, _ := tenants()
	for name, tc := range errorCases() {
		for op, document := range operations() {
			if !strings.HasPrefix(document, "mutation") {
				continue
			}
			f := &fake{err: tc.err}
			s, log := logged(t, f)
			got := run(t, as(t, acme, token.Admin), s, withIDs(document, ours), "")
			if tc.userError == "" {
				if code := got.code(t); code != tc.code || got.Errors[0].Message != tc.message {
					t.Errorf("%s: %s: %v, want %s", name, op, got.Errors, tc.code)
				}
			} else if code := got.at(t, op+".userErrors.0.code"); code != tc.userError {
				t.Errorf("%s: %s: userErrors %v, want %s", name, op, got.Data, tc.userError)
			}
			if lines := strings.Count(log.String(), "\n"); (lines == 1) != tc.logged {
				t.Errorf("%s: %s: logged %d lines: %s", name, op, lines, log)
			}
		}
	}
}

// TestErrors_onePageOneError: what fails for a page is logged once and shown to
// each of its nodes, and an answer has a bounded number of errors.
func TestErrors_onePageOneError(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 1)}
	f.deliveries = deliveries(f.hooks[0], 100)
	f.payloadErr = errors.New(secretText)
	s, log := logged(t, f)
	got := run(t, as(t, acme, token.Admin), s, `{ webhookDeliveries(first: 100) { nodes { payload } } }`, "")
	if n := len(got.Errors); n == 0 || n > 20 {
		t.Errorf("%d errors, want 1 to 20", n)
	}
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("logged %d lines, want 1", n)
	}
	if text := fmt.Sprint(got); strings.Contains(text, secretText) {
		t.Errorf("the cause got out: %s", text)
	}
}

func TestErrors_panicIsInternal(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`{ webhooks { nodes { id } } }`,
		`{ webhookDeliveries { nodes { id payload } } }`,
		`mutation { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: {}}) { eventId } }`,
	} {
		f := &fake{hooks: webhooks(acme, 0, 1), panics: true}
		s, log := logged(t, f)
		got := run(t, obs.WithRequestID(as(t, acme, token.Admin), "req-2"), s, document, "")
		if code := got.code(t); code != "INTERNAL" || got.Errors[0].Message != "internal error" || got.Errors[0].Extensions["requestId"] != "req-2" {
			t.Errorf("%s: %v", document, got.Errors)
		}
		if !strings.Contains(log.String(), secretText) || !strings.Contains(log.String(), "fake_test.go") {
			t.Errorf("%s: no stack in the log: %s", document, log)
		}
	}
}

// TestErrors_ofTheDocument: whatever the library says of a document gets a code.
func TestErrors_ofTheDocument(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("webhook { deliveries { nodes { ", 8) + "id" + strings.Repeat(" } } }", 8)
	wide := strings.Repeat("id ", 2_100)
	for name, tc := range map[string]struct{ document, code, message string }{
		"syntax":            {`{ viewer `, "BAD_USER_INPUT", "syntax error"},
		"nothing":           {``, "BAD_USER_INPUT", ""},
		"unknown field":     {`{ viewer { colour } }`, "BAD_USER_INPUT", "colour"},
		"unknown argument":  {`{ webhooks(size: 1) { totalCount } }`, "BAD_USER_INPUT", "size"},
		"unknown enum":      {`{ webhooks(filter: {status: [GONE]}) { totalCount } }`, "BAD_USER_INPUT", "GONE"},
		"string for enum":   {`{ webhooks(filter: {status: ["ACTIVE"]}) { totalCount } }`, "BAD_USER_INPUT", "ACTIVE"},
		"wrong literal":     {`{ webhooks(first: "x") { totalCount } }`, "BAD_USER_INPUT", "Int"},
		"two operations":    {`query A { viewer { role } } query B { viewer { role } }`, "BAD_USER_INPUT", "operation"},
		"huge literal":      {`{ webhookDeliveries(filter: {createdAfter: 99999999999999999999}) { totalCount } }`, "BAD_USER_INPUT", "literal"},
		"huge default":      {`query($t: Time = 99999999999999999999) { webhookStats(since: $t) { total } }`, "BAD_USER_INPUT", "literal"},
		"odd number":        {`mutation { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: {a: 0x10}}) { eventId } }`, "BAD_USER_INPUT", "literal"},
		"too deep":          {`{ webhookDelivery(id: "x") { ` + deep + ` } }`, "LIMIT_EXCEEDED", "depth"},
		"too many fields":   {`{ viewer { ` + wide + ` } }`, "", ""},
		"too long":          {`{ viewer { role } } #` + strings.Repeat("x", 16<<10), "LIMIT_EXCEEDED", "16384 bytes"},
		"too much expanded": {fragments(), "LIMIT_EXCEEDED", "selections"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			got := runAs(t, f, tc.document, "")
			if len(got.Errors) == 0 || len(got.Errors) > 20 {
				t.Fatalf("%d errors", len(got.Errors))
			}
			for _, e := range got.Errors {
				code, _ := e.Extensions["code"].(string)
				if code == "" || tc.code != "" && (code != tc.code || !strings.Contains(e.Message, tc.message)) {
					t.Errorf("%v, want %s with %q", e, tc.code, tc.message)
				}
				if len(e.Message) > 510 {
					t.Errorf("message of %d bytes", len(e.Message))
				}
			}
			if got.Data != nil || len(f.calls) > 0 {
				t.Errorf("data = %v, calls = %v", got.Data, f.calls)
			}
		})
	}
}

// fragments expands to 4^7 fields.
func fragments() string {
	var b strings.Builder
	b.WriteString(`{ webhooks { nodes { ...f0 } } } fragment f7 on WebhookConfig { id }`)
	for i := range 7 {
		fmt.Fprintf(&b, ` fragment f%d on WebhookConfig { ...f%d ...f%d ...f%d ...f%d }`, i, i+1, i+1, i+1, i+1)
	}
	return b.String()
}

func TestErrors_requestThatIsOver(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(as(t, acme, token.Admin))
	cancel()
	s, _ := logged(t, &fake{})
	got := run(t, ctx, s, `{ webhooks { totalCount } }`, "")
	if code := got.code(t); code != "UNAVAILABLE" {
		t.Errorf("code = %q, want UNAVAILABLE", code)
	}
}
