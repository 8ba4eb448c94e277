package e2e_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// unavailable checks that an operation is refused for now, as a whole.
func unavailable(t *testing.T, c *client, query string, v vars) {
	t.Helper()
	a := c.ask(query, v)
	if a.code() != "UNAVAILABLE" || !strings.Contains(a.Errors[0].Message, "try again") || len(a.Data) > 0 {
		t.Errorf("without PostgreSQL: HTTP %d %s", a.Status, a.Text)
	}
}

func TestOutage_PostgreSQL(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	gate, through := newProxy(t, s.database)
	api, worker := s.unreadyAPI("DATABASE_URL="+through), s.unreadyWorker("DATABASE_URL="+through)
	c := s.client(api, tenant)

	// Down at the start: both wait and say so.
	for _, p := range []*service{api, worker} {
		p.awaitReady(http.StatusServiceUnavailable)
		p.awaitLog("waiting for PostgreSQL")
		if got := p.probe("/healthz"); got != http.StatusOK {
			t.Errorf("%s answers /healthz with %d, want 200: a restart would not help", p.name, got)
		}
	}
	unavailable(t, c, createHook, vars{"input": vars{"name": "n", "url": r.URL, "eventPatterns": []string{"*"}}})
	unavailable(t, c, dispatchOne, vars{"input": event("1")})
	unavailable(t, c, dispatchMany, vars{"inputs": []vars{event("1")}})
	unavailable(t, c, queryHooks, nil)
	unavailable(t, c, queryStats, nil)
	if a := c.ask(`{viewer{tenantId}}`, nil); a.Status != http.StatusOK {
		t.Errorf("what needs no PostgreSQL: %s", a.Text)
	}

	gate.open()
	api.awaitReady(http.StatusOK)
	api.awaitLog("PostgreSQL is there")
	hookID := r.subscribe(c, "/", vars{"timeoutMs": 30_000}).Webhook.ID
	c.dispatch(event("2"))
	s.awaitIdle()

	// Gone in the middle, with a request in flight.
	release := r.hold("/")
	c.dispatch(event("3"))
	r.awaitRequests(t, "/", 2)
	gate.close()
	api.awaitReady(http.StatusServiceUnavailable)
	worker.awaitReady(http.StatusServiceUnavailable)
	unavailable(t, c, dispatchOne, vars{"input": event("4")})
	unavailable(t, c, testHook, vars{"id": hookID})
	release()
	worker.awaitLog("outcomes not recorded yet")
	gate.open()
	api.awaitReady(http.StatusOK)
	c.dispatch(event("5"))
	s.awaitIdle()
	if n := s.count(`SELECT count(*) FROM deliveries WHERE status = 'success' AND attempt_count = 1`); n != 3 {
		t.Errorf("%d deliveries, want those of the 3 accepted events", n)
	}
	for id, n := range r.perDelivery() {
		if n != 1 {
			t.Errorf("delivery %s was sent %d times", id, n)
		}
	}
	s.awaitEmptyLanes()
}

func TestOutage_Redis(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	gate, through := newProxy(t, s.redis)
	// Down at the start: the api is ready and accepts, the worker waits.
	api, worker := s.api("REDIS_URL="+through), s.unreadyWorker("REDIS_URL="+through)
	worker.awaitLog("waiting for Redis")
	worker.awaitReady(http.StatusServiceUnavailable)
	c := s.client(api, tenant)
	r.subscribe(c, "/", nil)
	for i := range 5 {
		c.dispatch(event(fmt.Sprint(i)))
	}
	c.dispatchMany(20)
	gate.open()
	worker.awaitLog("Redis is there")
	s.awaitIdle()

	// Gone in the middle.
	gate.close()
	worker.awaitReady(http.StatusServiceUnavailable)
	if got := api.probe("/readyz"); got != http.StatusOK {
		t.Errorf("the api answers /readyz with %d without Redis, want 200", got)
	}
	c.dispatchMany(25)
	gate.open()
	s.awaitIdle()
	if n := len(r.requests("/")); n != 50 || len(r.perDelivery()) != 50 {
		t.Errorf("%d requests for %d deliveries, want 50", n, len(r.perDelivery()))
	}
	s.awaitEmptyLanes()
}

// A worker with a key that does not open the webhook's secret sends nothing and
// loses nothing.
func TestOutage_workerWithTheWrongKey(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	r.subscribe(c, "/", nil)
	wrong := s.worker("HOOKS_ENCRYPTION_KEYS=" + newSystem(t).key)
	c.dispatch(event("1"))
	wrong.awaitLog("it cannot be sent")
	s.worker()
	wrong.terminate()
	if code := wrong.awaitEnd(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	s.awaitIdle()
	if n := s.count(`SELECT count(*) FROM deliveries WHERE status = 'success' AND attempt_count = 1`); n != 1 || len(r.requests("/")) != 1 {
		t.Errorf("%d deliveries succeeded by %d requests, want 1 by 1", n, len(r.requests("/")))
	}
}

func TestStart_badSettingsAreNamed(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	for _, name := range []string{"api", "worker", "monitor"} {
		for setting, want := range map[string]string{
			"HOOKS_COLOUR=blue":          "HOOKS_COLOUR is not a setting",
			"HOOKS_LOG_LEVEL=chatty":     "HOOKS_LOG_LEVEL must be",
			"REDIS_URL=http://localhost": "REDIS_URL must start with",
		} {
			t.Run(name+" "+setting, func(t *testing.T) {
				t.Parallel()
				p := start(t, name, s.env(setting))
				if code := p.awaitEnd(); code != 1 {
					t.Errorf("exit code %d, want 1", code)
				}
				said := p.log.String()
				if !strings.HasPrefix(said, name+": ") || !strings.Contains(said, want) || strings.Count(said, "\n") != 1 {
					t.Errorf("said %q, want one line with %q", said, want)
				}
				u, err := url.Parse(s.database)
				if err != nil {
					t.Fatal(err)
				}
				if password, _ := u.User.Password(); strings.Contains(said, password) || strings.Contains(said, s.jwtSecret) {
					t.Errorf("the message repeats a secret: %q", said)
				}
			})
		}
	}
}
