package graph_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/accept"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

// What app wires fits.
var (
	_ httpapi.Executor = (*graph.Schema)(nil)
	_ graph.Management = (*manage.Service)(nil)
	_ graph.Accepter   = (*accept.Accepter)(nil)
)

// anybody is an authenticator that knows who asks before the token is read.
type anybody struct{ principal auth.Principal }

func (a anybody) FromRequest(*http.Request) (auth.Principal, error) { return a.principal, nil }

// edge is the HTTP edge, for an admin of acme.
func edge(t testing.TB, f *fake) http.Handler {
	t.Helper()
	principal, _ := auth.FromContext(as(t, acme, token.Admin))
	handler, err := httpapi.New(httpapi.Config{
		Executor: newSchema(t, f), Auth: anybody{principal}, Registry: prometheus.NewRegistry(),
		Ready: func(context.Context) error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// post sends a body through the HTTP edge, as an admin of acme.
func post(t *testing.T, f *fake, body string) *httptest.ResponseRecorder {
	t.Helper()
	return postTo(t, edge(t, f), body)
}

func postTo(t *testing.T, handler http.Handler, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/graphql", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w
}

// TestTransport_keepsJSON: the edge and the executor agree on how variables
// travel, and the request's trace goes with the event.
func TestTransport_keepsJSON(t *testing.T) {
	t.Parallel()
	f := &fake{}
	w := post(t, f, `{"query": "mutation($input: DispatchEventInput!) { dispatchEvent(input: $input) { eventId } }",
		"variables": {"input": {"event": "LEAD_CREATED", "objectId": "1", "object": `+exact+`}}}`)
	if len(f.accepted) != 1 {
		t.Fatal(w.Body.String())
	}
	if o := string(f.accepted[0].Object); o != exact {
		t.Errorf("object = %s, want %s", o, exact)
	}
	if f.accepted[0].TraceParent == "" {
		t.Error("no traceparent")
	}
}

// TestTransport_introspection: the query of code generators fits into the limits
// on depth and size.
func TestTransport_introspection(t *testing.T) {
	t.Parallel()
	w := post(t, &fake{}, `{"query": "query { __schema { queryType { name } mutationType { name } types { kind name description specifiedByURL fields(includeDeprecated: true) { name description args(includeDeprecated: true) { name description type { ...T } defaultValue } type { ...T } isDeprecated deprecationReason } inputFields { name type { ...T } } interfaces { ...T } enumValues { name description } possibleTypes { ...T } } directives { name locations args { name type { ...T } } } } } fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }"}`)
	if body := w.Body.String(); w.Code != http.StatusOK || strings.Contains(body, `"errors"`) || !strings.Contains(body, "WEBHOOK_READ") {
		t.Errorf("%d %.500s", w.Code, body)
	}
}

func BenchmarkDispatchEvent(b *testing.B) {
	f := &fake{}
	s := newSchema(b, f)
	ctx := as(b, acme, token.Service)
	input := []byte(`{"event": "LEAD_CREATED", "objectId": "1", "object": {"text": "` + strings.Repeat("x", 1000) + `"}}`)
	b.ReportAllocs()
	for b.Loop() {
		resp := s.Exec(ctx, dispatchOne, "", map[string]any{"input": json.RawMessage(input)})
		if len(resp.Errors) > 0 {
			b.Fatal(resp.Errors)
		}
	}
}
