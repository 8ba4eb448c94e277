package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestI7_secretAppearsNowhere drives every feature with known secrets and looks
// for them everywhere but in the one answer that shows each.
func TestI7_secretAppearsNowhere(t *testing.T) {
	t.Parallel()
	h, r := newHunt(t), newReceiver(t)
	const path, content, bearer, apiKey = "/path-of-a-customer-7f3a", "content-of-a-customer-91c2", "bearer-of-a-customer-55de", "api-key-of-a-customer-08ba"
	h.customer["webhook's URL"], h.customer["event's content"] = path, content
	h.hide("custom header", bearer)
	h.hide("other custom header", apiKey)
	key := make([]byte, 40)
	_, _ = rand.Read(key)
	given := "whsec_" + base64.StdEncoding.EncodeToString(key)
	h.hideSigning("given secret", given)

	api, monitor := h.api(), h.monitor()
	c, operator := h.client(api, tenant), h.browser(monitor.addr)
	h.hide("token", c.bearer)
	made := r.subscribe(c, path, vars{
		"secret": given, "maxAttempts": 2, "timeoutMs": 500,
		"headers": []vars{{"name": "Authorization", "value": "Bearer " + bearer}, {"name": "X-Api-Key", "value": apiKey}},
	})
	if made.Secret != given {
		t.Fatal("the given secret is not the webhook's")
	}
	id := made.Webhook.ID
	secretEvent := vars{"event": "LEAD_CREATED", "objectId": "1", "object": vars{"note": content}}

	c.dispatch(secretEvent) // rung for, and nobody there
	await(t, "a task in Redis, or the test looks in the wrong place", h.lookInRedis)
	h.lookInMonitor(operator, monitor.addr)
	worker := h.worker()
	h.awaitIdle()

	failed := h.driveFailures(c, r, secretEvent, id, path)
	h.driveChanges(c, r, secretEvent, id, path, bearer)
	h.driveMove(c, r, secretEvent, id, path, []vars{
		{"name": "Authorization", "value": "Bearer " + bearer}, {"name": "X-Api-Key", "value": apiKey},
	})
	driveRefusals(t, c, r, id, given, bearer)
	for query, v := range map[string]vars{
		queryHooks: nil, queryDeliveries: nil, queryStats: nil, queryHook: {"id": id}, queryDelivery: {"id": failed},
		`{webhookEvents{name examplePayload} viewer{subject}}`: nil,
	} {
		if a := c.ask(query, v); len(a.Errors) > 0 {
			t.Error(a.Text)
		}
	}
	h.lookInRedis()
	if shown := h.lookInMonitor(operator, monitor.addr); !strings.Contains(shown, failed) {
		t.Errorf("the monitor does not show the exhausted delivery %s: the test looks in the wrong place", failed)
	}
	for place, target := range map[string]string{
		"metrics of the api": api.addr + "/metrics", "GraphiQL": api.addr + "/", "/readyz of the api": api.addr + "/readyz",
		"metrics of the worker": worker.addr + "/metrics", "/healthz of the monitor": monitor.addr + "/healthz",
	} {
		h.fetch(place, operator, "http://"+target, http.StatusOK)
	}
	get[struct{ DeletedID string }](c, deleteHook, vars{"id": id})
	h.awaitIdle()
	h.lookInRedis()
	h.driveCommands()
	h.lookInPostgres()
	h.driveLockedOut()
	for _, p := range []*service{api, worker, monitor} {
		p.terminate()
		if code := p.awaitEnd(); code != 0 {
			t.Errorf("%s: exit code %d", p.name, code)
		}
		h.lookBehind("log of "+p.name, p.log.String())
	}
	if _, found := worker.log.line(failed); !found {
		t.Errorf("the worker's log does not tell of %s: the test looks in the wrong place", failed)
	}
	shown := 0
	for _, answer := range c.answers.texts {
		h.look("an answer", answer, h.needles)
		shown += strings.Count(answer, shownOnce)
	}
	if shown != 2 {
		t.Errorf("%d answers show a secret, want that of createWebhook and that of rotateWebhookSecret", shown)
	}
}

// driveCommands searches what operators' commands print.
func (h *hunt) driveCommands() {
	h.t.Helper()
	var fresh [32]byte
	_, _ = rand.Read(fresh[:])
	next := base64.StdEncoding.EncodeToString(fresh[:])
	h.hideKey("next encryption key", next)
	both := []string{"HOOKS_ENCRYPTION_KEYS=" + h.key + "," + next}
	for _, args := range [][]string{{"doctor"}, {"migrate", "status"}, {"migrate", "up"}, {"rekey", "--dry-run"}, {"rekey"}, {"version"}} {
		out, code := h.hooksctl(both, args...)
		if code != 0 || out == "" {
			h.t.Errorf("hooksctl %s: exit code %d\n%s", args, code, out)
		}
		h.lookBehind("hooksctl "+strings.Join(args, " "), out)
	}
	for name, setting := range map[string]string{
		"a key that is none": "HOOKS_ENCRYPTION_KEYS=" + h.key + "," + next[:30], "a variable that is none": "HOOKS_NOPE=" + next,
		"a number that is none": "HOOKS_DATABASE_CONNECTIONS=x",
	} {
		out, code := h.hooksctl([]string{setting}, "doctor")
		if code == 0 {
			h.t.Errorf("doctor finds nothing wrong with %s", name)
		}
		h.lookBehind("hooksctl doctor with "+name, out)
	}
}

// driveLockedOut starts processes with passwords that the servers refuse, and
// searches what they and hooksctl say about it.
func (h *hunt) driveLockedOut() {
	h.t.Helper()
	const wrong = "refused-password-c4a8"
	h.hide("refused password", wrong)
	var settings []string
	for name, server := range map[string]string{"DATABASE_URL": h.database, "REDIS_URL": h.system.redis} {
		u, err := url.Parse(server)
		if err != nil {
			h.t.Fatal("the server's URL is none")
		}
		u.User = url.UserPassword(u.User.Username(), wrong)
		settings = append(settings, name+"="+u.String())
	}
	out, code := h.hooksctl(settings, "doctor")
	if code == 0 || !strings.Contains(out, "PostgreSQL is not reachable") {
		h.t.Errorf("doctor with refused passwords: exit code %d\n%s", code, out)
	}
	h.lookBehind("hooksctl doctor with refused passwords", out)
	for _, p := range []*service{h.unreadyAPI(settings...), h.unreadyWorker(settings...)} {
		p.awaitLog("password authentication failed")
		p.kill()
		h.lookBehind("log of a locked out "+p.name, p.log.String())
	}
}

// driveFailures lets deliveries and tests fail in several ways, and returns one
// that is exhausted.
func (h *hunt) driveFailures(c *client, r *receiver, e vars, id, path string) (failed string) {
	h.t.Helper()
	r.answer(path, status(http.StatusInternalServerError))
	ev := c.dispatch(e)
	failed = c.awaitDelivery(ev.EventID, finished).ID
	get[tested](c, testHook, vars{"id": id})
	r.answer(path, func(_ http.ResponseWriter, req *http.Request, _ int) { <-req.Context().Done() })
	c.dispatch(e)
	get[tested](c, testHook, vars{"id": id, "event": "LEAD_DELETED"})
	h.lookInRedis()
	h.awaitIdle()
	// One that says what it got, as debugging tools do.
	r.answer(path, func(w http.ResponseWriter, req *http.Request, _ int) {
		w.Header().Set("X-Echo", req.Header.Get("Authorization"))
		_, _ = fmt.Fprint(w, req.Header)
	})
	echoed := c.awaitDelivery(c.dispatch(e).EventID, finished)
	if body := text(echoed.Attempts[0].ResponseBody); !strings.Contains(body, "Webhook-Signature") {
		h.t.Errorf("the echo is not in the log: %s", body)
	}
	r.answer(path, status(http.StatusGone))
	c.awaitDelivery(c.dispatch(e).EventID, finished)
	c.update(id, vars{"status": "ACTIVE"})
	h.awaitIdle()
	r.answer(path, status(http.StatusBadGateway))
	get[struct{ UserErrors []userError }](c, retryDelivery, vars{"id": failed})
	h.awaitIdle()
	return failed
}

// driveChanges rotates, pauses and resumes the webhook.
func (h *hunt) driveChanges(c *client, r *receiver, e vars, id, path, bearer string) {
	h.t.Helper()
	r.answer(path, status(http.StatusNoContent))
	rotated := get[created](c, rotateHook, vars{"id": id, "grace": 3600})
	h.hideSigning("rotated secret", rotated.Secret)
	r.trust(path, rotated.Secret)
	// Headers are given back as they are shown: masked.
	shown := get[*hook](c, queryHook, vars{"id": id}).Headers
	given := make([]vars, len(shown))
	for i, f := range shown {
		given[i] = vars{"name": f.Name, "value": f.Value}
	}
	c.update(id, vars{"headers": given, "status": "PAUSED"})
	c.dispatch(e)
	h.lookInRedis()
	c.update(id, vars{"status": "ACTIVE", "initialBackoffMs": 3_600_000})
	h.awaitIdle()
	came := r.requests(path)
	if got := came[len(came)-1].Header.Get("Authorization"); got != "Bearer "+bearer {
		h.t.Errorf("the receiver got Authorization %q: the masked value was not kept", got)
	}
}

// driveMove gives the webhook another URL: to a receiver that would be shown what
// is hidden, which is refused, and then to where no request gets through.
func (h *hunt) driveMove(c *client, r *receiver, e vars, id, path string, headers []vars) {
	h.t.Helper()
	thief := newReceiver(h.t)
	shown := get[*hook](c, queryHook, vars{"id": id}).Headers
	masked := make([]vars, len(shown))
	for i, f := range shown {
		masked[i] = vars{"name": f.Name, "value": f.Value}
	}
	for field, input := range map[string]vars{
		"input.headers":         {"url": thief.URL + path},
		"input.headers.0.value": {"url": thief.URL + path, "headers": masked},
	} {
		refused := get[struct{ UserErrors []userError }](c, updateHook, vars{"id": id, "input": input}).UserErrors
		if len(refused) == 0 || refused[0].Code != "INVALID" || strings.Join(refused[0].Field, ".") != field {
			h.t.Errorf("moving hidden values: %v, want a fault of %s", refused, field)
		}
	}
	get[tested](c, testHook, vars{"id": id})
	if came := thief.requests(path); len(came) > 0 {
		h.t.Errorf("the other receiver got Authorization %q", came[0].Header.Get("Authorization"))
	}
	c.update(id, vars{"url": strings.Replace(r.URL, "http:", "https:", 1) + path, "headers": headers})
	// One that waits for its next attempt, in Redis and for the monitor to see.
	ev := c.dispatch(e)
	c.awaitDelivery(ev.EventID, func(d delivery) bool { return d.Status == "RETRYING" })
	get[tested](c, testHook, vars{"id": id})
}

// driveRefusals sends requests that hold secrets and are wrong.
func driveRefusals(t *testing.T, c *client, r *receiver, id, given, bearer string) {
	t.Helper()
	input := func(more vars) vars {
		all := vars{"name": "n", "url": r.URL, "eventPatterns": []string{"*"}}
		for name, value := range more {
			all[name] = value
		}
		return vars{"input": all}
	}
	header := func(name, value string) vars {
		return input(vars{"headers": []vars{{"name": name, "value": value}}})
	}
	for what, request := range map[string]struct {
		query string
		vars  vars
	}{
		"secret with a tail":    {createHook, input(vars{"secret": given + "="})},
		"secret without prefix": {createHook, input(vars{"secret": strings.TrimPrefix(given, "whsec_")})},
		"secret in a list":      {createHook, input(vars{"secret": []string{given}})},
		"secret as a number":    {createHook, input(vars{"maxAttempts": given})},
		"secret as a pattern":   {createHook, input(vars{"eventPatterns": []string{given}})},
		"header with a newline": {createHook, header("Authorization", "Bearer "+bearer+"\n")},
		"reserved header":       {createHook, header("Cookie", bearer)},
		"header as a name":      {createHook, header("Bearer "+bearer, "x")},
		"credentials in a URL":  {createHook, input(vars{"url": "https://user:" + bearer + "@example.com/"})},
		"update":                {updateHook, vars{"id": id, "input": vars{"headers": []vars{{"name": "X-Token", "value": bearer + "\x00"}}}}},
		"rotate":                {rotateHook, vars{"id": given, "grace": 1}},
		"grace":                 {rotateHook, vars{"id": id, "grace": given}},
		"inline":                {`mutation{createWebhook(input:{name:"n",url:"` + r.URL + `",eventPatterns:["*"],secret:"` + given + `="}){secret userErrors{code field message}}}`, nil},
		"syntax":                {`mutation{createWebhook(input:{secret:"` + given + `" "` + bearer + `"}){secret}}`, nil},
		"unknown argument":      {`mutation{createWebhook(secret:"` + given + `"){secret}}`, nil},
	} {
		a := c.ask(request.query, request.vars)
		if len(a.Errors) == 0 && strings.Contains(a.Text, `"userErrors":[]`) {
			t.Errorf("%s was accepted: %s", what, a.Text)
		}
		for _, secret := range []string{given, strings.TrimPrefix(given, "whsec_"), bearer} {
			if strings.Contains(a.Text, secret) {
				t.Errorf("%s: the answer repeats it: %s", what, a.Text)
			}
		}
	}
}
