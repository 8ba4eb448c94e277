package graph_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

const bodyBytes = 1 << 20

// filledBody is a request whose variable x is as large as a body can be: one of what
// entry makes after the other, between open and end.
func filledBody(document, open, end string, entry func(i int) string) string {
	var b strings.Builder
	b.WriteString(`{"query":"` + strings.ReplaceAll(document, `"`, `\"`) + `","variables":{"x":` + open)
	for i := 0; ; i++ {
		next := entry(i)
		if b.Len()+len(next)+len(end)+3 > bodyBytes {
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(next)
	}
	return b.String() + end + "}}"
}

// TestLimits_variablesInMemory: whatever the variables of the largest body are,
// they are refused before the library looks at each of them, by a limit that says
// what to do, unless they are JSON.
func TestLimits_variablesInMemory(t *testing.T) { //nolint:paralleltest // counts what everybody allocates
	const (
		statuses = `query($x: [WebhookDeliveryStatus!]) { webhookDeliveries(filter: {status: $x}) { totalCount } }`
		filter   = `query($x: WebhookDeliveryFilterInput) { webhookDeliveries(filter: $x) { totalCount } }`
		create   = `mutation($x: CreateWebhookInput!) { createWebhook(input: $x) { userErrors { message } } }`
		events   = `mutation($x: [DispatchEventInput!]!) { dispatchEvents(inputs: $x) { userErrors { message code } } }`
		object   = `mutation($x: JSON!) { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: $x}) { userErrors { message code } } }`
		tooLong  = `must have at most 1000 entries`
		tooMany  = `variables must have at most 20000 values`
	)
	same := func(text string) func(int) string { return func(int) string { return text } }
	numbered := func(format string) func(int) string { return func(i int) string { return fmt.Sprintf(format, i) } }
	manyLists := func(i int) string { return `[` + strings.Repeat("1,", 999) + fmt.Sprint(i) + `]` }
	for name, tc := range map[string]struct{ body, want string }{
		"wrong entries":            {filledBody(statuses, "[", "]", same("1")), `invalid type json.Number`},
		"right entries":            {filledBody(statuses, "[", "]", same(`"FAILED"`)), "variables.x " + tooLong},
		"nulls":                    {filledBody(statuses, "[", "]", same("null")), `invalid value null`},
		"entries of a member":      {filledBody(filter, `{"status":[`, "]}", same(`"FAILED"`)), "variables.x.status " + tooLong},
		"patterns":                 {filledBody(create, `{"name":"n","url":"https://example.com","eventPatterns":[`, "]}", same(`"a"`)), "variables.x.eventPatterns " + tooLong},
		"unknown members":          {filledBody(create, `{`, "}", numbered(`"member%d":1`)), tooMany},
		"lists in lists":           {filledBody(statuses, "[", "]", manyLists), tooMany},
		"of a variable nobody has": {filledBody(`{ viewer { role } }`, "[", "]", same("1")), `"role":"ADMIN"`},
		"wrong events":             {filledBody(events, "[", "]", same("1")), `invalid type json.Number`},
		"events":                   {filledBody(events, "[", "]", same(`{"event":"LEAD_CREATED","objectId":"1","object":{}}`)), `"message":"inputs must have at most 1000 entries","code":"LIMIT_EXCEEDED"`},
		"a list as JSON":           {filledBody(object, "[", "]", same("1")), `must have at most 262144 bytes`},
		"JSON of many values":      {filledBody(object, `{"a":[`, "]}", same("1")), `must have at most 262144 bytes`},
	} {
		handler := edge(t, &fake{})
		allocated, w := allocatedBy(func() *httptest.ResponseRecorder { return postTo(t, handler, tc.body) })
		if !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s: %d %.300s, want %s", name, w.Code, w.Body, tc.want)
		}
		if allocated > 32<<20 {
			t.Errorf("%s: allocated %d MiB", name, allocated>>20)
		}
		t.Logf("%-26s %4d MiB", name, allocated>>20)
	}
}

// TestLimits_listsInVariables: the longest list is taken, and one entry more is not.
func TestLimits_listsInVariables(t *testing.T) {
	t.Parallel()
	const document = `query($s: [WebhookDeliveryStatus!]) { webhookDeliveries(filter: {status: $s}) { totalCount } }`
	list := func(n int) string { return `{"s": [` + strings.TrimSuffix(strings.Repeat(`"FAILED",`, n), ",") + `]}` }
	f := &fake{}
	if got := runAs(t, f, document, list(1000)); len(got.Errors) > 0 || len(f.filtered.Statuses) != 0 && len(f.filtered.Statuses) != 1000 {
		t.Errorf("1,000 entries: %v", got.Errors)
	}
	if got := runAs(t, f, document, list(1001)); got.code(t) != "LIMIT_EXCEEDED" || got.Errors[0].Message != "variables.s must have at most 1000 entries" {
		t.Errorf("1,001 entries: %v", got.Errors)
	}
}

// TestVariables_ofSeveralOperations: a variable may be JSON to one operation of a
// document and something else to another.
func TestVariables_ofSeveralOperations(t *testing.T) {
	t.Parallel()
	s := newSchema(t, &fake{hooks: webhooks(acme, 0, 1)})
	const document = `
		query A($x: String) { webhooks(filter: {search: $x}) { totalCount } }
		mutation B($x: JSON!) { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: $x}) { eventId } }`
	for operation, x := range map[string]string{"A": `"orders"`, "B": `{"a": 1.10}`} {
		resp := s.Exec(as(t, acme, "ADMIN"), document, operation, map[string]any{"x": json.RawMessage(x)})
		if len(resp.Errors) > 0 {
			t.Errorf("%s: %v", operation, resp.Errors[0])
		}
	}
	resp := s.Exec(as(t, acme, "ADMIN"), document, "A", map[string]any{"x": json.RawMessage(`{"a": 1}`)})
	if len(resp.Errors) != 1 || resp.Errors[0].Message != "variables.x must be a String" {
		t.Errorf("A with an object: %v", resp.Errors)
	}
}
