package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

// TestI1_killedAPI kills an api in the middle of concurrent mutations. Whatever
// was answered is there in full, whatever was not is there in full or not at all.
func TestI1_killedAPI(t *testing.T) {
	t.Parallel()
	const batch, enough = 25, 200
	s, r := newSystem(t), newReceiver(t)
	api := s.api()
	c := s.client(api, tenant)
	r.subscribe(c, "/all", nil)
	r.subscribe(c, "/lead", vars{"events": []string{"LEAD_CREATED"}, "eventPatterns": []string{}})
	c.create(r.URL+"/none", vars{"eventPatterns": []string{"account.*"}})

	got := dispatchUntilCut(c, batch, enough, api.kill)
	if t.Failed() {
		t.FailNow()
	}
	if got.cut == 0 {
		t.Fatal("no mutation was cut off: the test shows nothing")
	}
	// A statement of the dead process may still run in the server.
	s.await("the dead api's sessions to end",
		`count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'crm-webhooks' AND pid <> ALL ($1)`,
		pq.Array(s.ownSessions()))
	if n := s.count(`SELECT count(*) FROM events WHERE 'evt_' || replace(id::text, '-', '') = ANY ($1)`, pq.Array(got.ids)); n != len(got.ids) {
		t.Errorf("%d of %d answered events are stored", n, len(got.ids))
	}
	if n := s.count(`SELECT count(*) FROM events e WHERE (SELECT count(*) FROM deliveries WHERE event_id = e.id) <> 2
		OR (SELECT count(*) FROM pending_deliveries WHERE event_id = e.id) <> 2`); n != 0 {
		t.Errorf("%d events do not owe what they should: 2 deliveries", n)
	}
	if n := s.count(`SELECT count(*) FROM (SELECT FROM events WHERE body::json->>'correlationId' LIKE 'batch-%'
		GROUP BY body::json->>'correlationId' HAVING count(*) <> $1) AS partly`, batch); n != 0 {
		t.Errorf("%d calls of dispatchEvents are stored in part", n)
	}
	if n := s.count(`SELECT count(*) FROM lanes l WHERE admitted <> (SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND p.admitted)
		OR queued <> (SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND NOT p.admitted)`); n != 0 {
		t.Errorf("%d lanes do not count what is owed", n)
	}

	events := s.count(`SELECT count(*) FROM events`)
	t.Logf("%d events answered, %d mutations cut off, %d events stored", len(got.ids), got.cut, events)
	s.worker()
	s.awaitIdle()
	if all, lead := len(r.requests("/all")), len(r.requests("/lead")); all != events || lead != events {
		t.Errorf("%d and %d requests for %d events", all, lead, events)
	}
	s.awaitEmptyLanes()
}

// cutOff is what callers learnt before their api was gone.
type cutOff struct {
	ids []string // of events that were answered
	cut int      // mutations without an answer
}

// dispatchUntilCut dispatches from all sides, ends the api when enough was
// answered, and returns when every caller has noticed.
func dispatchUntilCut(c *client, batch, enough int, end func()) (got cutOff) {
	var (
		mu    sync.Mutex
		group sync.WaitGroup
	)
	reached := make(chan struct{})
	note := func(ids ...string) {
		mu.Lock()
		defer mu.Unlock()
		before := len(got.ids)
		got.ids = append(got.ids, ids...)
		if before < enough && len(got.ids) >= enough {
			close(reached)
		}
	}
	caller := func(call func(n int) ([]string, bool)) {
		for n := 0; ; n++ {
			ids, answered := call(n)
			if !answered {
				mu.Lock()
				got.cut++
				mu.Unlock()
				return
			}
			note(ids...)
		}
	}
	for i := range 12 {
		group.Go(func() {
			caller(func(n int) ([]string, bool) {
				var one accepted
				answered := c.answered(dispatchOne, vars{"input": event(fmt.Sprintf("lead-%d-%d", i, n))}, &one)
				return []string{one.EventID}, answered
			})
		})
	}
	for i := range 3 {
		group.Go(func() {
			caller(func(n int) ([]string, bool) {
				inputs := make([]vars, batch)
				for k := range inputs {
					inputs[k] = event(fmt.Sprintf("lead-%d-%d-%d", i, n, k))
					inputs[k]["correlationId"] = fmt.Sprintf("batch-%d-%d", i, n)
				}
				var many acceptedMany
				answered := c.answered(dispatchMany, vars{"inputs": inputs}, &many)
				return many.EventIDs, answered
			})
		})
	}
	<-reached
	end()
	group.Wait()
	return got
}

// answered reports whether a whole answer came, which then must be a success.
func (c *client) answered(query string, v vars, into any) bool {
	a, err := c.send(query, v)
	if err != nil {
		return false
	}
	for _, field := range a.Data {
		err = json.Unmarshal(field, into)
	}
	if err != nil || len(a.Errors) > 0 || !strings.Contains(a.Text, `"userErrors":[]`) {
		c.t.Errorf("HTTP %d %s", a.Status, a.Text)
		return false
	}
	return true
}

// ownSessions are the test's own connections to its database.
func (s *system) ownSessions() []int64 {
	s.t.Helper()
	s.db.SetMaxOpenConns(1) // from now on there is one
	s.db.SetMaxIdleConns(1)
	var pid int64
	if err := s.db.GetContext(s.t.Context(), &pid, `SELECT pg_backend_pid()`); err != nil {
		s.t.Fatal(err)
	}
	return []int64{pid}
}

// TestI2I3_killedWorkerAndEmptiedRedis kills a worker whose requests are in
// flight and empties Redis: another worker delivers all, and repeats at most
// what was in flight.
func TestI2I3_killedWorkerAndEmptiedRedis(t *testing.T) {
	t.Parallel()
	const window, before, after = 4, 20, 10
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api("HOOKS_ENDPOINT_CONCURRENCY="+fmt.Sprint(window)), tenant)
	for _, path := range []string{"/a", "/b"} {
		// A short timeout gives a short lease: nobody may take over sooner. It may
		// make attempts fail on a busy machine, which then are numbered on.
		r.subscribe(c, path, vars{"timeoutMs": 1000, "maxAttempts": 20})
	}
	releaseA, releaseB := r.hold("/a"), r.hold("/b")
	worker := func() *service { return s.worker("HOOKS_ENDPOINT_CONCURRENCY=" + fmt.Sprint(window)) }
	first := worker()
	c.dispatchMany(before)
	r.awaitRequests(t, "/a", window)
	r.awaitRequests(t, "/b", window)
	first.kill()
	inFlight := r.perAttempt()
	recorded := s.count(`SELECT count(*) FROM attempts`)
	redis, err := tasks.Connect(s.redis)
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	if err := redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	c.dispatchMany(after)
	releaseA()
	releaseB()
	worker()
	s.awaitIdle()

	if n := s.count(`SELECT count(*) FROM deliveries WHERE status = 'success'`); n != 2*(before+after) {
		t.Errorf("%d of %d deliveries succeeded", n, 2*(before+after))
	}
	repeated := 0
	for attempt, n := range r.perAttempt() {
		repeated += n - 1
		if n > 1 && inFlight[attempt] == 0 {
			t.Errorf("%s, which was not in flight, was made %d times", attempt, n)
		}
	}
	if most := len(inFlight) - recorded; repeated > most {
		t.Errorf("%d requests were repeated, %d were in flight", repeated, most)
	}
	if n := s.count(`SELECT count(*) FROM deliveries d
		WHERE attempt_count <> (SELECT count(*) FROM attempts WHERE delivery_id = d.id) OR attempt_count <> (SELECT max(number) FROM attempts WHERE delivery_id = d.id)`); n != 0 {
		t.Errorf("%d deliveries have gaps in their attempts", n)
	}
	s.awaitEmptyLanes()
}

// TestI9_terminatedWorker stops a worker politely: requests in flight finish,
// nothing counts as failed, nothing is sent twice, another worker does the rest.
func TestI9_terminatedWorker(t *testing.T) {
	t.Parallel()
	const window, events = 3, 9
	s, r := newSystem(t), newReceiver(t)
	setting := "HOOKS_ENDPOINT_CONCURRENCY=" + fmt.Sprint(window)
	c := s.client(s.api(setting), tenant)
	r.subscribe(c, "/", vars{"timeoutMs": 30_000})
	release := r.hold("/")
	first := s.worker(setting)
	c.dispatchMany(events)
	r.awaitRequests(t, "/", window)
	first.terminate()
	first.awaitLog(`"msg":"stopping"`)
	s.worker(setting) // is there before the first one has gone
	release()
	first.endsWithin(30*time.Second + stopping)
	s.awaitIdle()
	if n := s.count(`SELECT count(*) FROM deliveries WHERE status = 'success' AND attempt_count = 1`); n != events {
		t.Errorf("%d of %d deliveries succeeded at the first attempt", n, events)
	}
	if n := s.count(`SELECT count(*) FROM attempts WHERE error_class IS NOT NULL`); n != 0 {
		t.Errorf("%d attempts count as failed", n)
	}
	for id, n := range r.perDelivery() {
		if n != 1 {
			t.Errorf("delivery %s was sent %d times", id, n)
		}
	}
}

// stopping is what a worker may take to stop beyond the timeouts of the requests
// that it has in flight.
const stopping = 10 * time.Second

// endsWithin checks that the process stops without an error, and how long after it
// was told to.
func (p *process) endsWithin(limit time.Duration) {
	p.t.Helper()
	if code := p.awaitEnd(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	if took := time.Since(p.told); took > limit {
		p.t.Errorf("it took %s to stop, want at most %s", took, limit)
	}
}

// TestI9_terminatedWorkerWaitsForNoHangingReceiver: what is in flight ends by its
// timeout, and so does the worker.
func TestI9_terminatedWorkerWaitsForNoHangingReceiver(t *testing.T) {
	t.Parallel()
	const window, timeout = 3, 2 * time.Second
	s, r := newSystem(t), newReceiver(t)
	setting := "HOOKS_ENDPOINT_CONCURRENCY=" + fmt.Sprint(window)
	c := s.client(s.api(setting), tenant)
	r.subscribe(c, "/", vars{"timeoutMs": timeout.Milliseconds()})
	r.hold("/")
	worker := s.worker(setting)
	c.dispatchMany(2 * window)
	r.awaitRequests(t, "/", window)
	worker.terminate()
	worker.endsWithin(timeout + stopping)
	if n := s.count(`SELECT count(*) FROM pending_deliveries WHERE lease_until IS NOT NULL`); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	if made, recorded := len(r.requests("/")), s.count(`SELECT count(*) FROM attempts`); made != recorded {
		t.Errorf("%d requests were made and %d recorded", made, recorded)
	}
}

// An api that is told to stop answers what it has begun.
func TestAPI_terminatedWithARequestInFlight(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	api := s.api()
	s.worker()
	c := s.client(api, tenant)
	made := r.subscribe(c, "/", vars{"timeoutMs": 30_000})
	release := r.hold("/")
	type outcome struct {
		answer answer
		err    error
	}
	answered := make(chan outcome, 1)
	go func() { // waited for below
		a, err := c.send(testHook, vars{"id": made.Webhook.ID})
		answered <- outcome{a, err}
	}()
	r.awaitRequests(t, "/", 1)
	api.terminate()
	api.awaitLog(`"msg":"stopping"`)
	release()
	if got := <-answered; got.err != nil || !strings.Contains(got.answer.Text, `"success":true`) {
		t.Errorf("the request in flight was answered %s, %v", got.answer.Text, got.err)
	}
	if code := api.awaitEnd(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
}
