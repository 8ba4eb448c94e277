package graph_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// nested is a valid query of the given depth, 2 or more.
func nested(depth int) string {
	const unit = "{ deliveries { nodes { webhook "
	open := `{ webhook(id: "whk_1") ` + strings.Repeat(unit, (depth-1)/3)
	switch (depth - 1) % 3 {
	case 0:
		open = strings.TrimSuffix(open, "{ webhook ") + "{ id "
	case 1:
		open += "{ id "
	case 2:
		open += "{ stats { total "
	}
	return open + strings.Repeat("}", strings.Count(open, "{"))
}

// TestLimits_document: the largest document that each limit allows is executed,
// the next larger is refused in the limit's name, and neither takes long.
func TestLimits_document(t *testing.T) {
	t.Parallel()
	many := func(n int, each func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(each(i) + " ")
		}
		return b.String()
	}
	field := func(int) string { return "role" }
	alias := func(i int) string { return fmt.Sprintf("a%d: tenantId", i) }
	dispatch := func(n int) string {
		return `{"query": "mutation($i: [DispatchEventInput!]!) { dispatchEvents(inputs: $i) { eventIds userErrors { code message } } }", "variables": {"i": [` +
			strings.TrimSuffix(strings.Repeat(`{"event": "LEAD_CREATED", "objectId": "1", "object": {}},`, n), ",") + `]}}`
	}
	for name, tc := range map[string]struct{ allowed, refused, want string }{
		"depth": {queryOf(nested(15)), queryOf(nested(16)), "depth"},
		// Fields of one name are compared in pairs: with them nobody gets as far as 2,000.
		"overlaps":        {queryOf("{ viewer { " + many(100, field) + "} }"), queryOf("{ viewer { " + many(102, field) + "} }"), "Overlapping field validation aborted"},
		"selections":      {queryOf("{ viewer { " + many(100, field) + "} }"), queryOf("{ viewer { " + many(2000, field) + "} }"), "query must have at most 2000 selections"},
		"aliases":         {queryOf("{ viewer { " + many(50, alias) + "} }"), queryOf("{ viewer { " + many(51, alias) + "} }"), "query must have at most 50 aliases"},
		"length":          {queryOf("{ viewer { role } } #" + strings.Repeat("x", 16<<10-21)), queryOf("{ viewer { role } } #" + strings.Repeat("x", 16<<10-20)), "query must have at most 16384 bytes"},
		"page size":       {queryOf(`{ webhooks(first: 100) { nodes { id } } }`), queryOf(`{ webhooks(first: 101) { nodes { id } } }`), "first must be between 1 and 100"},
		"page size, last": {queryOf(`{ webhookDeliveries(last: 100) { nodes { id } } }`), queryOf(`{ webhookDeliveries(last: 101) { nodes { id } } }`), "last must be between 1 and 100"},
		"events":          {dispatch(1000), dispatch(1001), "inputs must have at most 1000 entries"},
		"batching":        {queryOf(`{ viewer { role } }`), "[" + queryOf(`{ viewer { role } }`) + "]", "body must be one JSON object with the member query"},
		"recursion":       {queryOf(`{ viewer { ...A } } fragment A on Viewer { role }`), queryOf(`{ viewer { ...A } } fragment A on Viewer { role ...B } fragment B on Viewer { ...A }`), `Cannot spread fragment`},
		"expansion": {
			queryOf(`{ viewer { ...A ...A } } fragment A on Viewer { ...B ...B } fragment B on Viewer { role }`), queryOf(bomb(20)), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if w := post(t, &fake{}, tc.allowed); w.Code != http.StatusOK || strings.Contains(w.Body.String(), `"errors"`) || strings.Contains(w.Body.String(), `"message"`) {
				t.Errorf("just allowed: %d %.300s", w.Code, w.Body)
			}
			started := time.Now()
			w := post(t, &fake{}, tc.refused)
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("refusing took %s", took)
			}
			if tc.want != "" && !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("just over: %d %.300s, want %s", w.Code, w.Body, tc.want)
			}
		})
	}
}

// queryOf is the body of a request.
func queryOf(document string) string {
	body, _ := json.Marshal(map[string]string{"query": document}) // strings always can be
	return string(body)
}

// bomb has fragments that double at each of n levels.
func bomb(n int) string {
	var b strings.Builder
	b.WriteString("{ viewer { ...F0 } }")
	for i := range n {
		fmt.Fprintf(&b, " fragment F%d on Viewer { ...F%d ...F%d }", i, i+1, i+1)
	}
	fmt.Fprintf(&b, " fragment F%d on Viewer { role }", n)
	return b.String()
}

// FuzzDocument: whatever document comes, through all limits, the answer is one in
// bounded time, and every error has a code.
func FuzzDocument(f *testing.F) {
	for _, seed := range []string{
		`{ viewer { role } }`, nested(15), nested(16), bomb(3), `{ ...F } fragment F on Query { ...F }`, `query($a: Int = 1e999) { webhooks(first: $a) { nodes { id } } }`,
		`{ webhooks(after: "MTp3aGtf") { totalCount } }`, `mutation { dispatchEvent(input: {object: {a: 1.10}, objectId: 1}) { eventId } }`,
		`{ a: __schema { queryType { name } } a: __schema { queryType { name } } }`, `{ __typename @skip(if: true) @include(if: $x) }`, `subscription { a }`,
		`{ webhookStats(since: "9999-12-31T23:59:59Z", until: "0000-01-01T00:00:00Z") { total } }`, "{ viewer { role } \x00 }", `{"`, `"""`,
	} {
		f.Add(seed)
	}
	fake := &fake{hooks: webhooks(acme, 0, 3)}
	fake.deliveries = deliveries(fake.hooks[0], 3)
	handler := edge(f, fake)
	f.Fuzz(func(t *testing.T, document string) {
		body, err := json.Marshal(map[string]string{"query": document})
		if err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		handler.ServeHTTP(w, r)
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
		var a answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatalf("%d %v: %.300s", w.Code, err, w.Body)
		}
		for _, e := range a.Errors {
			if code, _ := e.Extensions["code"].(string); code == "" || code == "INTERNAL" {
				t.Errorf("%q: %v", document, e)
			}
		}
	})
}
