package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

// hunt is a system in which known secrets were used, and places where they must
// not be found.
type hunt struct {
	*system
	redis redis.UniversalClient
	// needles by name: each spelling of each secret.
	needles map[string]string
	// customer's data belong into PostgreSQL, not into logs, Redis and the monitor.
	customer map[string]string
	found    map[string]bool
}

func newHunt(t *testing.T) *hunt {
	t.Helper()
	h := &hunt{system: newSystem(t), needles: map[string]string{}, customer: map[string]string{}, found: map[string]bool{}}
	var err error
	if h.redis, err = tasks.Connect(h.system.redis); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.redis.Close() })
	h.hide("JWT secret", h.jwtSecret)
	h.hide("encryption key", h.key)
	h.hide("monitor's password", monitorPassword)
	for name, server := range map[string]string{"PostgreSQL password": h.database, "Redis password": h.system.redis} {
		u, err := url.Parse(server)
		if err != nil {
			t.Fatal("the server's URL is none")
		}
		if password, ok := u.User.Password(); ok && len(password) >= 8 {
			h.hide(name, password)
		}
	}
	return h
}

func (h *hunt) hide(name, secret string) {
	h.needles[name] = secret
	h.needles[name+" in base64"] = base64.StdEncoding.EncodeToString([]byte(secret))
	h.needles[name+" in hex"] = hex.EncodeToString([]byte(secret))
}

// hideSigning hides a signing secret, and the key in it.
func (h *hunt) hideSigning(name, secret string) {
	h.t.Helper()
	encoded := strings.TrimPrefix(secret, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		h.t.Fatal(err)
	}
	h.hide(name, secret)
	h.hide(name+"'s base64", encoded)
	h.hide(name+"'s key", string(key))
}

// look searches a text, and reports each find once.
func (h *hunt) look(place, text string, needles map[string]string) {
	h.t.Helper()
	for name, needle := range needles {
		at := strings.Index(text, needle)
		if at < 0 || h.found[place+name] {
			continue
		}
		h.found[place+name] = true
		h.t.Errorf("%s has the %s: ...%q", place, name, text[max(0, at-150):min(len(text), at+50)])
	}
}

// lookBehind searches where no secret and no customer's data belong.
func (h *hunt) lookBehind(place, text string) {
	h.t.Helper()
	h.look(place, text, h.needles)
	h.look(place, text, h.customer)
}

// lookInRedis searches every key, and reports whether a task of the tenant was
// among them.
func (h *hunt) lookInRedis() (rung bool) {
	h.t.Helper()
	ctx := h.t.Context()
	all := h.redis.Scan(ctx, 0, "*", 1000).Iterator()
	for all.Next(ctx) {
		key := all.Val()
		h.lookBehind("Redis, the name "+key, key)
		for _, value := range h.redisValues(key) {
			h.lookBehind("Redis, "+key, value)
			rung = rung || strings.Contains(value, tenant)
		}
	}
	if err := all.Err(); err != nil {
		h.t.Fatal(err)
	}
	return rung
}

// redisValues reads a key of any type. What is gone meanwhile has none.
func (h *hunt) redisValues(key string) (values []string) {
	ctx := h.t.Context()
	values = append(values, h.redis.Dump(ctx, key).Val()) // compressed, but whatever its type
	switch h.redis.Type(ctx, key).Val() {
	case "string":
		values = append(values, h.redis.Get(ctx, key).Val())
	case "hash":
		for name, value := range h.redis.HGetAll(ctx, key).Val() {
			values = append(values, name, value)
		}
	case "list":
		values = append(values, h.redis.LRange(ctx, key, 0, -1).Val()...)
	case "set":
		values = append(values, h.redis.SMembers(ctx, key).Val()...)
	case "zset":
		values = append(values, h.redis.ZRange(ctx, key, 0, -1).Val()...)
	case "none":
	default:
		h.t.Errorf("%s is of a type that this test cannot read", key)
	}
	return values
}

// lookInPostgres searches every row, which together must hold what customers gave.
func (h *hunt) lookInPostgres() {
	h.t.Helper()
	var all strings.Builder
	for table, rows := range h.dump() {
		for _, row := range rows {
			h.look("table "+table, row, h.needles)
			all.WriteString(row)
		}
	}
	for name, datum := range h.customer {
		if !strings.Contains(all.String(), datum) {
			h.t.Errorf("PostgreSQL has no %s: the test looks in the wrong place", name)
		}
	}
}

// lookInMonitor searches what an operator can open, and returns all of it.
func (h *hunt) lookInMonitor(addr string) string {
	h.t.Helper()
	var all strings.Builder
	open := func(path string) string {
		h.t.Helper()
		req, err := http.NewRequest(http.MethodGet, "http://"+addr+path, http.NoBody)
		if err != nil {
			h.t.Fatal(err)
		}
		req.SetBasicAuth(monitorUser, monitorPassword)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			h.t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			h.t.Fatalf("the monitor answers %s with %s, %v", path, resp.Status, err)
		}
		h.lookBehind("monitor, "+path, string(text))
		all.Write(text)
		return string(text)
	}
	open("/")
	open("/api/servers")
	open("/api/scheduler_entries")
	open("/api/redis_info")
	var queues struct {
		Queues []struct{ Queue string }
	}
	if err := json.Unmarshal([]byte(open("/api/queues")), &queues); err != nil || len(queues.Queues) == 0 {
		h.t.Fatalf("the monitor shows no queue: %v", err)
	}
	for _, q := range queues.Queues {
		for _, state := range []string{"active", "pending", "scheduled", "retry", "archived", "completed"} {
			var list struct{ Tasks []struct{ ID string } }
			if err := json.Unmarshal([]byte(open("/api/queues/"+q.Queue+"/"+state+"_tasks")), &list); err != nil {
				h.t.Fatal(err)
			}
			for _, task := range list.Tasks {
				if state == "archived" || state == "retry" { // the others come and go
					open("/api/queues/" + q.Queue + "/tasks/" + url.PathEscape(task.ID))
				}
			}
		}
	}
	return all.String()
}

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
	c := h.client(api, tenant)
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
	if !h.lookInRedis() {
		t.Fatal("no task in Redis: the test looks in the wrong place")
	}
	h.lookInMonitor(monitor.addr)
	worker := h.worker()
	h.awaitIdle()

	failed := h.driveFailures(c, r, secretEvent, id, path)
	h.driveChanges(c, r, secretEvent, id, path, bearer)
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
	if shown := h.lookInMonitor(monitor.addr); !strings.Contains(shown, failed) {
		t.Errorf("the monitor does not show the exhausted delivery %s: the test looks in the wrong place", failed)
	}
	get[struct{ DeletedID string }](c, deleteHook, vars{"id": id})
	h.awaitIdle()
	h.lookInRedis()
	h.lookInPostgres()
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
	for _, answer := range c.answers.texts {
		h.look("an answer", answer, h.needles)
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
	r.answer(path, status(http.StatusBadGateway))
	get[struct{ UserErrors []userError }](c, retryDelivery, vars{"id": failed})
	h.awaitIdle()
	return failed
}

// driveChanges rotates, pauses, resumes and moves the webhook.
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
	// One that waits for its next attempt, in Redis and for the monitor to see.
	c.update(id, vars{"url": strings.Replace(r.URL, "http:", "https:", 1) + path})
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
