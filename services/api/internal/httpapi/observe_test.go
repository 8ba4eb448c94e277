package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
)

func TestNew_refusesHalfAConfig(t *testing.T) {
	t.Parallel()
	if _, err := httpapi.New(httpapi.Config{}); err == nil {
		t.Error("an empty config was accepted")
	}
}

func TestRequestID_inAndOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.query(t, "{ requestId }", "X-Request-Id: from-caller.1")
	if r.Header.Get("X-Request-Id") != "from-caller.1" || r.body != `{"data":{"requestId":"from-caller.1"}}` {
		t.Errorf("header %q, body %s", r.Header.Get("X-Request-Id"), r.body)
	}
	for _, bad := range []string{"", `a"b`, strings.Repeat("x", 129)} {
		got := b.query(t, "{ tenant }", "X-Request-Id: "+bad).Header.Get("X-Request-Id")
		if got == bad || len(got) < 20 {
			t.Errorf("X-Request-Id %q was answered with %q", bad, got)
		}
	}
}

func TestTrace_continues(t *testing.T) {
	t.Parallel()
	const remote = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	r := setup(t).query(t, "{ traceparent }", "traceparent: "+remote)
	if !strings.Contains(r.body, remote[:36]) || strings.Contains(r.body, remote) {
		t.Errorf("answer %s, want a child of %s", r.body, remote)
	}
}

func TestAccessLog_oneLineWithoutSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.do(t, http.MethodPost, "/graphql", `{"query":"query Echo($t: String!) { echo(text: $t) }","variables":{"t":"hunter2"}}`, "X-Request-Id: r1")
	b.do(t, http.MethodGet, "/graphql?query=%7Becho(text:%22hunter2%22)%7D", "", "Authorization: Bearer hunter2")
	lines := strings.Split(strings.TrimSpace(b.log.String()), "\n")
	if len(lines) != 2 || strings.Contains(b.log.String(), "hunter2") || strings.Contains(b.log.String(), b.token) {
		t.Fatalf("log = %s", b.log)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	for _, varying := range []string{"time", "duration_ms", "trace_id"} {
		if got[varying] == nil {
			t.Errorf("no %s in %s", varying, lines[0])
		}
		delete(got, varying)
	}
	want := map[string]any{
		"level": "INFO", "msg": "request", "service": "api", "version": "dev", "request_id": "r1", "method": "POST", "path": "/graphql", "status": 200.0,
		"tenant": "acme", "operation": "Echo", "operation_type": "query", "outcome": "ok",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(lines[1], `"status":401`) || !strings.Contains(lines[1], `"refusal":"token must be a JWT`) {
		t.Errorf("refused request: %s", lines[1])
	}
}

func TestMetrics_byKindAndOutcome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.query(t, "{ tenant }")
	b.query(t, "mutation { count }")
	b.query(t, "{ forbidden }")
	b.query(t, "{")
	b.query(t, "{ tenant }", "Authorization:")
	body := b.do(t, http.MethodGet, "/metrics", "").body
	for _, labels := range []string{
		`operation="query",outcome="ok"`, `operation="mutation",outcome="ok"`, `operation="query",outcome="forbidden"`,
		`operation="none",outcome="bad_user_input"`, `operation="none",outcome="unauthenticated"`,
	} {
		if want := "hooks_graphql_request_duration_seconds_count{" + labels + "} 1"; !strings.Contains(body, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/", "/graphql", "/healthz", "/nowhere", "/graphiql/codicon.ttf"} {
		h := b.do(t, http.MethodGet, path, "").Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}
