package obs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestErr_tellsCausesOnce(t *testing.T) {
	t.Parallel()
	deadlock := webhook.Unavailable(errors.New("pq: deadlock detected"))
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("plain"), "plain"},
		{fmt.Errorf("doing: %w", errors.New("plain")), "doing: plain"},
		{fmt.Errorf("claiming: %w", deadlock), "claiming: temporarily unavailable, try again: pq: deadlock detected"},
		{errors.Join(deadlock, deadlock), "temporarily unavailable, try again\ntemporarily unavailable, try again: pq: deadlock detected"},
		{webhook.Unavailable(nil), "temporarily unavailable, try again"},
	} {
		if got := obs.Err(test.err).Value.String(); got != test.want {
			t.Errorf("logs %q, want %q", got, test.want)
		}
	}
}

const remote = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestLogger_carriesIDsOfContext(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := obs.NewLogger(&out, env.Log{Format: env.JSON}, "api")
	ctx := obs.WithRequestID(obs.ContextWithRemote(context.Background(), remote), "req-1")
	id := webhook.NewEventID(time.UnixMilli(1), [10]byte{})

	log.WithGroup("").InfoContext(ctx, "accepted", obs.Event(id), obs.Tenant("acme"), obs.Err(nil), obs.Duration(1500*time.Microsecond))
	log.Debug("not logged at info")

	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, &out)
	}
	delete(got, "time")
	want := map[string]any{
		"level": "INFO", "msg": "accepted", "service": "api", "version": "dev",
		"event": id.String(), "tenant": "acme", "error": "", "duration_ms": 1.5,
		"request_id": "req-1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLogger_textHasNoColourInAFile(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	obs.NewLogger(&out, env.Log{Format: env.Text, Level: slog.LevelDebug}, "api").Debug("hello", obs.Count(3))
	if got := out.String(); !strings.Contains(got, "hello count=3") || strings.Contains(got, "\x1b") {
		t.Errorf("text line = %q", got)
	}
}

func TestChildSpan_keepsTraceAndChangesSpan(t *testing.T) {
	t.Parallel()
	ctx := obs.ContextWithRemote(context.Background(), remote)
	if got := obs.TraceParent(ctx); got != remote {
		t.Errorf("TraceParent = %s, want %s", got, remote)
	}
	child := obs.TraceParent(obs.ChildSpan(ctx))
	if child == remote || !strings.HasPrefix(child, remote[:36]) || !strings.HasSuffix(child, "-01") {
		t.Errorf("child of %s = %s", remote, child)
	}
}

func TestChildSpan_startsTrace(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "rubbish", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"} {
		ctx := obs.ContextWithRemote(context.Background(), bad)
		if obs.TraceID(ctx) != "" || obs.TraceParent(ctx) != "" {
			t.Errorf("%q was taken for a trace", bad)
		}
		got := obs.TraceParent(obs.ChildSpan(ctx))
		if !regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-00$`).MatchString(got) {
			t.Errorf("new trace = %q", got)
		}
	}
}

func TestParseRequestID(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]bool{
		obs.NewRequestID(): true, "a.B-1_2:3": true, strings.Repeat("x", 128): true,
		"": false, strings.Repeat("x", 129): false, "a b": false, "a\nb": false, "é": false, `a"b`: false,
	} {
		if _, got := obs.ParseRequestID(in); got != want {
			t.Errorf("ParseRequestID(%q) = %v, want %v", in, got, want)
		}
	}
}

func TestRegistry_saysWhatRuns(t *testing.T) {
	t.Parallel()
	registry := obs.NewRegistry("worker")
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Namespace: obs.Namespace, Name: "x_total", Help: "x"}))
	recorder := httptest.NewRecorder()
	obs.MetricsHandler(registry).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{`hooks_build_info{service="worker",version="dev"} 1`, "hooks_x_total 0", "go_goroutines", "process_open_fds"} {
		if !strings.Contains(recorder.Body.String(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}
