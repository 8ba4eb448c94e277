package dispatch_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/dispatch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api accepts everything until it has accepted limit events.
type api struct {
	url   string
	limit int

	mu     sync.Mutex
	events []apiclient.Event
}

func newAPI(t *testing.T, limit int) *api {
	t.Helper()
	a := &api{limit: limit}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var request struct {
		Variables struct{ Input apiclient.Event } `json:"variables"`
	}
	text, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(text, &request)
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.events) == a.limit {
		_, _ = io.WriteString(w, `{"errors":[{"message":"come back later","extensions":{"code":"UNAVAILABLE"}}]}`)
		return
	}
	a.events = append(a.events, request.Variables.Input)
	_, _ = io.WriteString(w, `{"data":{"dispatchEvent":{"eventId":"evt_1","deliveryCount":2,"duplicate":false,"userErrors":[]}}}`)
}

func run(t *testing.T, cmd dispatch.Command, stdin string) (string, error) {
	t.Helper()
	if cmd.Count == 0 {
		cmd.Count, cmd.Concurrency = 1, 1
	}
	if cmd.Data == "" {
		cmd.Data = "{}"
	}
	var out bytes.Buffer
	err := cmd.Run(t.Context(), console.New(strings.NewReader(stdin), &out, io.Discard, nil))
	return out.String(), err
}

func TestCommand_takesDataAsCurlDoes(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "object.json")
	if err := os.WriteFile(file, []byte(" {\"from\": \"file\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]string{
		`{"from": "flag"}`: `{"from":"flag"}`, "@" + file: `{"from":"file"}`, "-": `{"from":"stdin"}`,
	} {
		server := newAPI(t, 1)
		out, err := run(t, dispatch.Command{URL: server.url, Event: "LEAD_CREATED", Data: data, Previous: `{"b":2}`}, `{"from": "stdin"}`)
		if err != nil || !strings.Contains(out, "accepted  evt_1  2 deliveries") {
			t.Errorf("--data %s: output %q, error %v", data, out, err)
			continue
		}
		got := server.events[0]
		if string(got.Object) != want || string(got.Previous) != `{"b":2}` || got.Event != "LEAD_CREATED" || !strings.HasPrefix(got.ObjectID, "hooksctl-") {
			t.Errorf("--data %s: sent %+v", data, got)
		}
	}
}

func TestCommand_refusesWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"[1]", "{", " ", "7", "@/nowhere.json"} {
		_, err := run(t, dispatch.Command{URL: "http://127.0.0.1:1", Event: "LEAD_CREATED", Data: data}, "")
		if err == nil || !strings.Contains(err.Error(), "--data") {
			t.Errorf("--data %s: error %v", data, err)
		}
	}
}

func TestCommand_load(t *testing.T) {
	t.Parallel()
	server := newAPI(t, 1000)
	out, err := run(t, dispatch.Command{
		URL: server.url, Type: "invoice.paid", ObjectID: "i-1", IdempotencyKey: "k", Count: 50, Concurrency: 8,
	}, "")
	if err != nil || !strings.HasPrefix(out, "accepted  50 events, 100 deliveries in ") {
		t.Fatalf("output %q, error %v", out, err)
	}
	keys := map[string]bool{}
	for _, e := range server.events {
		keys[e.IdempotencyKey] = true
		if e.CustomEvent != "invoice.paid" || e.ObjectID != "i-1" {
			t.Errorf("sent %+v", e)
		}
	}
	if len(keys) != 50 || !keys["k-1"] || !keys["k-50"] {
		t.Errorf("idempotency keys %v", keys)
	}
}

func TestCommand_loadStopsAtTheFirstError(t *testing.T) {
	t.Parallel()
	server := newAPI(t, 10)
	out, err := run(t, dispatch.Command{URL: server.url, Event: "LEAD_CREATED", Count: 10_000, Concurrency: 2}, "")
	if err == nil || !strings.Contains(err.Error(), "UNAVAILABLE: come back later") {
		t.Errorf("error = %v", err)
	}
	// The error cancels the other request, which may have been accepted.
	if !strings.HasPrefix(out, "accepted  10 events") && !strings.HasPrefix(out, "accepted  9 events") {
		t.Errorf("output %q does not say how far it came", out)
	}
}
