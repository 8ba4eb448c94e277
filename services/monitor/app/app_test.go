package app

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user     = "ops"
	password = "correct horse"
)

// monitor is a running App and a client for it.
type monitor struct {
	url    string
	redis  string
	client *http.Client
}

func start(t *testing.T, readOnly bool) *monitor {
	t.Helper()
	redisURL := redistest.New(t)
	config, err := env.LoadMonitor([]string{
		"REDIS_URL=" + redisURL, "HOOKS_MONITOR_ADDR=127.0.0.1:0",
		"HOOKS_MONITOR_USER=" + user, "HOOKS_MONITOR_PASSWORD=" + password,
	})
	if err != nil {
		t.Fatal(err)
	}
	config.ReadOnly = readOnly
	app, err := New(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx) }() // the cleanup waits
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return &monitor{url: "http://" + app.Addr(), redis: redisURL, client: &http.Client{
		Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (m *monitor) do(t *testing.T, method, path string, edit func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, m.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, password)
	if edit != nil {
		edit(r)
	}
	response, err := m.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func (m *monitor) get(t *testing.T, path string) answer {
	t.Helper()
	return m.do(t, http.MethodGet, path, nil)
}

func TestApp_changes(t *testing.T) {
	t.Parallel()
	const pause = "/api/queues/bulk:pause"
	crossSite := func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }
	crossOrigin := func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }
	ownPage := func(r *http.Request) {
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Origin", "http://"+r.Host)
	}
	for name, tc := range map[string]struct {
		readOnly bool
		method   string
		path     string
		edit     func(*http.Request)
		want     int
	}{
		"read-only refuses POST":         {true, http.MethodPost, pause, ownPage, http.StatusMethodNotAllowed},
		"read-only refuses DELETE":       {true, http.MethodDelete, "/api/queues/bulk", ownPage, http.StatusMethodNotAllowed},
		"read-only refuses PUT anywhere": {true, http.MethodPut, "/", ownPage, http.StatusMethodNotAllowed},
		"own page may":                   {false, http.MethodPost, pause, ownPage, http.StatusNoContent},
		"a program may":                  {false, http.MethodPost, pause, nil, http.StatusNoContent},
		"another site may not":           {false, http.MethodPost, pause, crossSite, http.StatusForbidden},
		"an old browser's other site":    {false, http.MethodPost, pause, crossOrigin, http.StatusForbidden},
		"nobody without login":           {false, http.MethodPost, pause, logOut, http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := start(t, tc.readOnly)
			m.awaitQueues(t)
			if got := m.do(t, tc.method, tc.path, tc.edit); got.status != tc.want {
				t.Errorf("status %d %q, want %d", got.status, got.body, tc.want)
			}
			paused := m.queues(t)["bulk"]
			if allowed := tc.want == http.StatusNoContent; paused != allowed {
				t.Errorf("queue paused: %t, want %t", paused, allowed)
			}
		})
	}
}

// queues returns the queues shown, and whether each is paused.
func (m *monitor) queues(t *testing.T) map[string]bool {
	t.Helper()
	got := m.get(t, "/api/queues")
	if got.status != http.StatusOK || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("queues: status %d, type %s: %s", got.status, got.header.Get("Content-Type"), got.body)
	}
	var list struct {
		Queues []struct {
			Queue  string `json:"queue"`
			Paused bool   `json:"paused"`
		} `json:"queues"`
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil {
		t.Fatal(err)
	}
	queues := make(map[string]bool)
	for _, q := range list.Queues {
		queues[q.Queue] = q.Paused
	}
	return queues
}

// awaitQueues returns when the monitor has published the queue names.
func (m *monitor) awaitQueues(t *testing.T) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for len(m.queues(t)) == 0 {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("no queue is shown")
		}
	}
}

func TestApp_showsEveryQueueOfAnEmptyRedis(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	m.awaitQueues(t)
	shown := m.queues(t)
	for _, q := range tasks.AllQueues() {
		if _, ok := shown[string(q)]; !ok {
			t.Errorf("%s is not shown", q)
		}
	}
}

func TestApp_pageAsksNoOtherHost(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	// asynqmon sends its page for every path that it does not know.
	for _, path := range []string{"/", "/index.html", "/queues/bulk", "/redis", "/static/", "/static/js/none.js", "/nope.svg", "/asset-manifest.txt"} {
		got := m.get(t, path)
		if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: status %d, type %s", path, got.status, got.header.Get("Content-Type"))
		}
		if outside := regexp.MustCompile(`(https?:)?//[a-z0-9.-]+\.[a-z]+`).FindString(got.body); outside != "" {
			t.Errorf("%s names %s", path, outside)
		}
		policy := got.header.Get("Content-Security-Policy")
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: policy %q", path, policy)
		}
	}
	page := m.get(t, "/").body
	scripts := regexp.MustCompile(`<script src="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(scripts) < 2 {
		t.Fatalf("page has %d scripts", len(scripts))
	}
	// Addresses in the scripts are links and error texts; none is loaded from.
	loads := regexp.MustCompile(`(?:@import|url\(|\.src\s*=|fetch\()\s*["']?(?:https?:)?//`)
	for _, s := range scripts {
		got := m.get(t, s[1])
		if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "application/javascript") {
			t.Errorf("%s: status %d, type %s", s[1], got.status, got.header.Get("Content-Type"))
		}
		if load := loads.FindString(got.body); load != "" {
			t.Errorf("%s loads from another host: %s", s[1], load)
		}
	}
	if got := m.get(t, "/static/media/logo-white.3fa2ac55.svg"); got.header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("logo has type %s", got.header.Get("Content-Type"))
	}
}

func TestApp_pageHasAFreshNonce(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	nonce := regexp.MustCompile(`<meta property="csp-nonce" content="([^"]{20,})"/>`)
	var seen []string
	for range 2 {
		got := m.get(t, "/")
		match := nonce.FindStringSubmatch(got.body)
		if match == nil {
			t.Fatal("page has no nonce")
		}
		if !strings.Contains(got.header.Get("Content-Security-Policy"), "'nonce-"+match[1]+"'") {
			t.Error("policy has another nonce than the page")
		}
		seen = append(seen, match[1])
	}
	if seen[0] == seen[1] {
		t.Error("two pages have the same nonce")
	}
}

func TestApp_headersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	for _, got := range []answer{
		m.get(t, "/"), m.get(t, "/api/queues"), m.get(t, "/api/nope"), m.get(t, "/favicon.ico"),
		m.do(t, http.MethodGet, "/", logOut), m.do(t, http.MethodPost, "/api/queues/bulk:pause", nil), m.get(t, "/healthz"),
		m.get(t, "/login"), m.do(t, http.MethodPost, "/login", nil), m.do(t, http.MethodPost, "/logout", nil),
	} {
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got.header.Get(name) != want {
				t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
			}
		}
		if !strings.Contains(got.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
			t.Errorf("policy %q", got.header.Get("Content-Security-Policy"))
		}
	}
	if got := m.get(t, "/api/nope"); got.status != http.StatusNotFound {
		t.Errorf("unknown call: status %d", got.status)
	}
}

// No other site's script may read or ask anything, whatever it says it is.
func TestApp_noCORS(t *testing.T) {
	t.Parallel()
	m := start(t, false)
	for _, method := range []string{http.MethodGet, http.MethodOptions, http.MethodPost, http.MethodDelete} {
		for _, path := range []string{"/", "/api/queues", "/api/queues/bulk:pause", "/login", "/logout", "/healthz"} {
			got := m.do(t, method, path, func(r *http.Request) {
				r.Header.Set("Origin", "https://evil.example")
				r.Header.Set("Access-Control-Request-Method", "POST")
				r.Header.Set("Access-Control-Request-Headers", "authorization")
			})
			for name := range got.header {
				if strings.HasPrefix(name, "Access-Control-") {
					t.Errorf("%s %s answers with %s", method, path, name)
				}
			}
		}
	}
}

func TestApp_showsAWaitingDelivery(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	client, err := tasks.Connect(m.redis)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	id := delivery(1)
	bell := tasks.Bell{Queue: tasks.Bulk, Tenant: "acme", EventType: "lead.created", Attempt: 2, Own: true,
		Deliveries: []webhook.DeliveryID{id}, LastError: "<b>HTTP 503</b>"}
	if err := tasks.NewRinger(client).Ring(t.Context(), []tasks.Bell{bell}); err != nil {
		t.Fatal(err)
	}
	got := m.get(t, "/api/queues/bulk/pending_tasks")
	var list struct {
		Tasks []struct {
			ID      string `json:"id"`
			Payload string `json:"payload"`
		} `json:"tasks"`
	}
	if err := json.Unmarshal([]byte(got.body), &list); err != nil || len(list.Tasks) != 1 {
		t.Fatalf("%v in %s", err, got.body)
	}
	if task := list.Tasks[0]; task.ID != id.String()+":2" || !strings.Contains(task.Payload, "tenant: acme") {
		t.Errorf("shows %+v", task)
	}
}

func TestFormatPayload(t *testing.T) {
	t.Parallel()
	a, b := delivery(1).String(), delivery(2).String()
	for name, tc := range map[string]struct{ taskType, payload, want string }{
		"first attempt": {tasks.TypeDeliver, `{"deliveries":["` + a + `"],"tenant":"acme","type":"lead.created","attempt":1}`,
			"tenant: acme\nevent:  lead.created\nattempt 1\n" + a},
		"waiting": {tasks.TypeDeliver, `{"deliveries":["` + a + `"],"tenant":"acme","type":"lead.created","attempt":2,"notBefore":"2026-11-23T10:00:00Z","lastError":"x","own":true}`,
			"tenant: acme\nevent:  lead.created\nattempt 2, not before\n2026-11-23T10:00:00Z\n" + a},
		"exhausted": {tasks.TypeDeliver, `{"deliveries":["` + a + `"],"tenant":"acme","type":"lead.created","attempt":3,"exhausted":true,"own":true}`,
			"tenant: acme\nevent:  lead.created\nattempt 3 was the last\n" + a},
		"mixed": {tasks.TypeDeliver, `{"deliveries":["` + a + `","` + b + `"],"type":"lead.created","attempt":1,"tenants":["acme","globex"],"of":[1,0]}`,
			"tenant: (several)\nevent:  lead.created\nattempt 1\n" + a + "  globex\n" + b + "  acme"},
		"mixed, of a former version": {tasks.TypeDeliver, `{"deliveries":["` + a + `","` + b + `"]}`,
			"tenant: (several)\nevent:  (several)\nattempt (several)\n" + a + "\n" + b},
		"garbage":      {tasks.TypeDeliver, `password=hunter2`, "unreadable (16 bytes)"},
		"another type": {"email:send", `{"to":"ann@example.com"}`, "not a task of ours (24 bytes)"},
	} {
		if got := formatPayload(tc.taskType, []byte(tc.payload)); got != tc.want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, got, tc.want)
		}
	}
}

func TestNew_refusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	config := env.Monitor{User: user, Password: env.NewSecret(password), Addr: "127.0.0.1:0"}
	if _, err := New(t.Context(), config, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("started without a Redis URL")
	}
}

func TestNewPages_refusesAPageThatNamesAnotherHost(t *testing.T) {
	t.Parallel()
	for page, wantOK := range map[string]bool{
		`<html><head><script>x</script></head></html>`:                               true,
		`<html><head><link rel="stylesheet" href="https://fonts.example/x"/></head>`: true, // removed
		`<html><head><script src="https://cdn.example/x.js"></script></head></html>`: false,
		`<html><head></head><img src="//cdn.example/x.png"/></html>`:                 false,
		`<html></html>`: false,
		`not a page`:    false,
	} {
		p, err := newPages(t.Context(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) }))
		if (err == nil) != wantOK {
			t.Errorf("%s: %v", page, err)
		}
		if err == nil && strings.Contains(string(slices.Concat(p.before, p.after)), "example") {
			t.Errorf("%s: still names the host", page)
		}
	}
}

func delivery(n byte) webhook.DeliveryID {
	return webhook.DeliveryIDFor(webhook.NewEventID(time.UnixMilli(1_700_000_000_000), [10]byte{9: n}), webhook.WebhookID{})
}
