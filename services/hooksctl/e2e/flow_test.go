package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The whole way of one event: accepted, signed, delivered, logged, counted, and
// to be followed by its ids from the first request to the last log line.
func TestFlow_oneEventTheWholeWay(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	api, worker := s.api(), s.worker()
	c := s.client(api, tenant)
	made := r.subscribe(c, "/crm", vars{"events": []string{"OPPORTUNITY_STAGE_CHANGED"}, "eventPatterns": []string{}})

	const traceID, requestID = "0af7651916cd43dd8448eb211c80319c", "req-of-the-e2e-test"
	calling := c.with("Traceparent", "00-"+traceID+"-b7ad6b7169203331-01").with("X-Request-Id", requestID)
	// Nothing of these may change on the way: spellings of numbers, order, escapes.
	object := json.RawMessage(`{"z":1.10,"a":12345678901234567890,"html":"<a href=\"x\">&</a>","nul":"\u0000","name":"Zoë 😀","stage":"won"}`)
	answered := calling.ask(dispatchOne, vars{"input": vars{
		"event": "OPPORTUNITY_STAGE_CHANGED", "objectId": "opp-1", "object": object,
		"previous": json.RawMessage(`{"stage":"open"}`), "correlationId": "corr-1", "occurredAt": "2026-11-23T11:00:00+01:00",
	}})
	var ev accepted
	if err := json.Unmarshal(answered.Data["dispatchEvent"], &ev); err != nil || ev.DeliveryCount != 1 || ev.Duplicate {
		t.Fatal(answered.Text, err)
	}
	if got := answered.Header.Get("X-Request-Id"); got != requestID {
		t.Errorf("X-Request-Id = %q, want the caller's", got)
	}

	got := r.awaitRequests(t, "/crm", 1)[0] // its signature has been verified
	wantBody := `{"id":"` + ev.EventID + `","type":"opportunity.stage_changed","apiVersion":"2026-11-01",` +
		`"timestamp":"2026-11-23T10:00:00.000Z","tenantId":"` + tenant + `","correlationId":"corr-1",` +
		`"data":{"objectType":"opportunity","objectId":"opp-1","object":` + string(object) +
		`,"previous":{"stage":"open"},"changedFields":["stage"]}}`
	if got.Body != wantBody {
		t.Errorf("body\n%s\nwant\n%s", got.Body, wantBody)
	}
	d := c.awaitDelivery(ev.EventID, finished)
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Webhook-Id": ev.EventID, "Crm-Delivery-Id": d.ID, "Crm-Attempt": "1",
		"Crm-Event-Type": "opportunity.stage_changed",
	} {
		if h := got.Header.Get(name); h != want {
			t.Errorf("%s: %q, want %q", name, h, want)
		}
	}
	if agent := got.Header.Get("User-Agent"); !strings.HasPrefix(agent, "crm-webhooks/") {
		t.Errorf("User-Agent: %q", agent)
	}
	parent := strings.Split(got.Header.Get("Traceparent"), "-")
	if len(parent) != 4 || parent[1] != traceID || parent[2] == "b7ad6b7169203331" {
		t.Errorf("traceparent = %v, want a span of its own in trace %s", parent, traceID)
	}
	checkLoggedDelivery(t, d, made.Webhook.ID, wantBody)

	half := c.stats(made.Webhook.ID)
	if half.Total != 1 || half.Succeeded != 1 || half.SuccessRate == nil || *half.SuccessRate != 1 || half.P95DurationMs == nil {
		t.Errorf("stats = %+v", half)
	}
	api.awaitLog(`"request_id":"`+requestID+`"`, `"trace_id":"`+traceID+`"`, `"operation_type":"mutation"`)
	worker.awaitLog(`"msg":"attempt"`, `"trace_id":"`+traceID+`"`, `"delivery":"`+d.ID+`"`, `"event":"`+ev.EventID+`"`,
		`"webhook":"`+made.Webhook.ID+`"`, `"tenant":"`+tenant+`"`, `"attempt":1`, `"status":204`, `"duration_ms":`)
}

func checkLoggedDelivery(t *testing.T, d delivery, webhookID, body string) {
	t.Helper()
	// The one difference JSON does not know: answers spell <, > and & as escapes.
	var want bytes.Buffer
	json.HTMLEscape(&want, []byte(body))
	if string(d.Payload) != want.String() {
		t.Errorf("payload in GraphQL\n%s\nis not the body\n%s", d.Payload, &want)
	}
	if d.Status != "SUCCESS" || d.EventType != "opportunity.stage_changed" || d.WebhookID != webhookID || d.Webhook == nil ||
		d.AttemptCount != 1 || d.NextAttemptAt != nil || d.CompletedAt == nil || d.LastError != nil || text(d.ResponseStatus) != "204" {
		t.Errorf("delivery = %+v", d)
	}
	if len(d.Attempts) != 1 || d.Attempts[0].Number != 1 || text(d.Attempts[0].ResponseStatus) != "204" || d.Attempts[0].Error != nil {
		t.Fatalf("attempts = %+v", d.Attempts)
	}
	headers := map[string]string{}
	for _, h := range d.Attempts[0].RequestHeaders {
		headers[strings.ToLower(h.Name)] = h.Value
	}
	if headers["webhook-id"] != d.EventID || headers["crm-delivery-id"] != d.ID || !strings.HasPrefix(headers["webhook-signature"], "v1,") {
		t.Errorf("recorded request headers = %v", headers)
	}
}

func TestDispatch_allOrNone(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	c.create(r.URL, nil)
	stored := func() int { return s.count(`SELECT count(*) FROM events`) }
	inputs := func(n int) []vars {
		out := make([]vars, n)
		for i := range out {
			out[i] = event(fmt.Sprint("lead-", i))
		}
		return out
	}
	refused := func(inputs []vars, code, field string) {
		t.Helper()
		got := get[acceptedMany](c, dispatchMany, vars{"inputs": inputs})
		if len(got.UserErrors) == 0 || got.UserErrors[0].Code != code || strings.Join(got.UserErrors[0].Field, ".") != field ||
			got.UserErrors[0].Message == "" || got.EventIDs != nil {
			t.Errorf("%d events: %v, %v, want %s about %s", len(inputs), got.EventIDs, got.UserErrors, code, field)
		}
		if n := stored(); n != 0 {
			t.Errorf("%d events are stored after a refusal", n)
		}
	}
	refused(inputs(1001), "LIMIT_EXCEEDED", "inputs")
	refused([]vars{}, "INVALID", "inputs")
	broken := inputs(1000)
	broken[999]["objectId"] = ""
	refused(broken, "INVALID", "inputs.999.objectId")
	twice := inputs(3)
	twice[0]["idempotencyKey"], twice[2]["idempotencyKey"] = "k", "k"
	refused(twice, "INVALID", "inputs.2.idempotencyKey")

	got := get[acceptedMany](c, dispatchMany, vars{"inputs": inputs(1000)})
	if len(got.UserErrors) > 0 || len(got.EventIDs) != 1000 || got.DeliveryCount != 1000 || stored() != 1000 {
		t.Fatalf("1,000 events: %d ids, %d deliveries, %v, %d stored", len(got.EventIDs), got.DeliveryCount, got.UserErrors, stored())
	}
	for i, want := range map[int]string{0: `"objectId":"lead-0"`, 500: `"objectId":"lead-500"`, 999: `"objectId":"lead-999"`} {
		if d := c.deliveriesOf(got.EventIDs[i]); len(d) != 1 || !strings.Contains(string(d[0].Payload), want) {
			t.Errorf("event %d = %+v, want the one with %s", i, d, want)
		}
	}
}

func TestDispatch_idempotencyKeys(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	api := s.api()
	c := s.client(api, tenant)
	r.subscribe(c, "/", nil)
	keyed := func(objectID string) vars {
		e := event(objectID)
		e["idempotencyKey"] = "key-1"
		return e
	}
	// Twenty callers at once, over two apis: one event.
	apis := []*client{c, s.client(s.api(), tenant)}
	results := make(chan accepted)
	for i := range 20 {
		go func() { // each one's result is waited for below
			a, err := apis[i%2].send(dispatchOne, vars{"input": keyed("lead-1")})
			var got accepted
			if err == nil {
				err = json.Unmarshal(a.Data["dispatchEvent"], &got)
			}
			if err != nil {
				t.Errorf("%v %s", err, a.Text)
			}
			results <- got
		}()
	}
	ids, firsts := map[string]bool{}, 0
	for range 20 {
		got := <-results
		ids[got.EventID] = true
		if !got.Duplicate {
			firsts++
		}
	}
	if len(ids) != 1 || firsts != 1 || s.count(`SELECT count(*) FROM events`) != 1 {
		t.Fatalf("20 calls with one key made events %v, %d of them not a duplicate", ids, firsts)
	}

	conflict := get[accepted](c, dispatchOne, vars{"input": keyed("lead-2")})
	want := []userError{{Code: "CONFLICT", Field: []string{"input", "idempotencyKey"}}}
	if diff := cmp.Diff(want, withoutMessages(t, conflict.UserErrors)); diff != "" {
		t.Errorf("another body under the same key: %s", diff)
	}
	many := get[acceptedMany](c, dispatchMany, vars{"inputs": []vars{event("lead-3"), keyed("lead-4")}})
	want[0].Field = []string{"inputs", "1", "idempotencyKey"}
	if diff := cmp.Diff(want, withoutMessages(t, many.UserErrors)); diff != "" {
		t.Errorf("another body under the same key, among others: %s", diff)
	}
	if n := s.count(`SELECT count(*) FROM events`); n != 1 {
		t.Errorf("%d events after two conflicts, want 1", n)
	}
	if other := s.client(api, "other").dispatch(keyed("lead-2")); other.Duplicate || ids[other.EventID] {
		t.Errorf("another tenant's key is not its own: %+v", other)
	}
	s.worker()
	s.awaitIdle()
	if n := len(r.requests("/")); n != 1 {
		t.Errorf("%d requests for one event", n)
	}
}

// withoutMessages checks that each error says something, and leaves out what.
func withoutMessages(t *testing.T, in []userError) []userError {
	t.Helper()
	out := make([]userError, len(in))
	for i, e := range in {
		if e.Message == "" {
			t.Errorf("%v says nothing", e)
		}
		out[i] = userError{Code: e.Code, Field: e.Field}
	}
	return out
}

func TestDispatch_whatNobodySubscribesToIsStored(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	c := s.client(s.api(), tenant)
	made := c.create(r.URL, vars{"eventPatterns": []string{"lead.*", "invoice.paid"}})
	custom := func(name string) vars {
		return vars{"customEvent": name, "objectId": "1", "object": vars{}}
	}
	for name, want := range map[string]int{"invoice.paid": 1, "invoice.sent": 0, "lead.scored": 1, "leads.scored": 0} {
		if got := c.dispatch(custom(name)); got.DeliveryCount != want {
			t.Errorf("%s owes %d deliveries, want %d", name, got.DeliveryCount, want)
		}
	}
	c.update(made.Webhook.ID, vars{"eventPatterns": []string{"invoice.sent"}})
	if got := c.dispatch(custom("invoice.paid")); got.DeliveryCount != 0 || got.EventID == "" {
		t.Errorf("after unsubscribing: %+v", got)
	}
	if n := s.count(`SELECT count(*) FROM events`); n != 5 {
		t.Errorf("%d events are stored, want all 5", n)
	}
}

// Everything at once: two apis, three workers, six webhooks, 2,000 events.
func TestFlow_manyOfEverythingExactlyOnce(t *testing.T) {
	t.Parallel()
	const single, batches, batch = 400, 4, 400
	s, r := newSystem(t), newReceiver(t)
	apis := []*client{s.client(s.api(), tenant), s.client(s.api(), tenant)}
	for range 3 {
		s.worker()
	}
	for path, patterns := range map[string][]string{
		"/all": {"*"}, "/lead": {"lead.*"}, "/created": {"lead.created", "lead.*"}, "/won": {"opportunity.won"},
		"/paid": {"invoice.paid"}, "/none": {"account.*"},
	} {
		r.subscribe(apis[0], path, vars{"eventPatterns": patterns})
	}
	kinds := []vars{
		{"event": "LEAD_CREATED"}, {"event": "OPPORTUNITY_WON"}, {"event": "LEAD_CREATED"}, {"customEvent": "invoice.paid"},
	}
	input := func(i int) vars {
		e := vars{"objectId": fmt.Sprint(i), "object": vars{"n": i}}
		for name, value := range kinds[i%len(kinds)] {
			e[name] = value
		}
		return e
	}
	calls := make(chan func(c *client) error)
	done := make(chan struct{})
	for i := range 8 {
		go func() { // ends with calls, and says so
			for call := range calls {
				if err := call(apis[i%2]); err != nil {
					t.Error(err)
				}
			}
			done <- struct{}{}
		}()
	}
	for b := range batches {
		calls <- func(c *client) error {
			inputs := make([]vars, batch)
			for i := range inputs {
				inputs[i] = input(b*batch + i)
			}
			return accept(c, dispatchMany, vars{"inputs": inputs})
		}
	}
	for i := range single {
		calls <- func(c *client) error { return accept(c, dispatchOne, vars{"input": input(i)}) }
	}
	close(calls)
	for range 8 {
		<-done
	}
	began := time.Now()
	s.awaitIdle()
	t.Logf("delivered within %s of the last answer", time.Since(began))
	const events = single + batches*batch
	want := map[string]int{"/all": events, "/lead": events / 2, "/created": events / 2, "/won": events / 4, "/paid": events / 4, "/none": 0}
	total := 0
	for path, n := range want {
		if got := len(r.requests(path)); got != n {
			t.Errorf("%s got %d requests, want %d", path, got, n)
		}
		total += n
	}
	if got := len(r.perDelivery()); got != total {
		t.Errorf("%d deliveries were sent, want %d", got, total)
	}
	if n := s.count(`SELECT count(*) FROM deliveries WHERE status = 'success' AND attempt_count = 1`); n != total {
		t.Errorf("%d deliveries succeeded at the first attempt, want %d", n, total)
	}
	s.awaitEmptyLanes()
}

// accept makes a call that must be answered without any error.
func accept(c *client, query string, v vars) error {
	a, err := c.send(query, v)
	if err != nil {
		return err
	}
	if a.Status != http.StatusOK || len(a.Errors) > 0 || !strings.Contains(a.Text, `"userErrors":[]`) {
		return fmt.Errorf("HTTP %d %.500s", a.Status, a.Text)
	}
	return nil
}

// awaitEmptyLanes checks the counts behind the admission window: a slot that
// is lost would slow a webhook for ever.
func (s *system) awaitEmptyLanes() {
	s.t.Helper()
	s.await("empty lanes", `coalesce(bool_and(admitted = 0 AND queued = 0), true) FROM lanes`)
}
