package e2e_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
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
	h.hideKey("encryption key", h.key)
	h.hide("monitor's password", monitorPassword)
	for name, server := range map[string]string{"PostgreSQL password": h.database, "Redis password": h.system.redis} {
		u, err := url.Parse(server)
		if err != nil {
			t.Fatal("the server's URL is none")
		}
		password, _ := u.User.Password()
		if len(password) < 8 {
			t.Fatalf("there is no %s to look for: test servers are to have one", name)
		}
		h.hide(name, password)
	}
	return h
}

// hide adds a secret's spellings: as it is, in hex, escaped for URLs, and in
// base64, also where other bytes go before it and after it.
func (h *hunt) hide(name, secret string) {
	h.needles[name] = secret
	h.needles[name+" in hex"] = hex.EncodeToString([]byte(secret))
	h.needles[name+" in upper hex"] = strings.ToUpper(hex.EncodeToString([]byte(secret)))
	h.needles[name+" in a query"] = url.QueryEscape(secret)
	h.needles[name+" in a path"] = url.PathEscape(secret)
	for alphabet, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "URL's base64": base64.RawURLEncoding} {
		h.needles[name+" in "+alphabet] = encoding.EncodeToString([]byte(secret))
		for before := 1; before <= 2; before++ {
			text := encoding.EncodeToString([]byte(strings.Repeat("x", before) + secret))
			h.needles[fmt.Sprintf("%s in %s behind %d bytes", name, alphabet, before)] = text[before+1 : len(text)-2]
		}
	}
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

// hideKey hides an encryption key, and its bytes.
func (h *hunt) hideKey(name, key string) {
	h.t.Helper()
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		h.t.Fatal(err)
	}
	h.hide(name, key)
	h.hide(name+"'s bytes", string(raw))
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

// selectColumns are all columns of all tables, views and materialized views that
// are not PostgreSQL's own, and how to read each as text. Other types than these
// can hold no text.
const selectColumns = `
SELECT format('%I.%I', table_schema, table_name) AS relation, quote_ident(column_name) AS name,
	CASE WHEN data_type = 'bytea' THEN format('encode(%I, ''hex'') || '' '' || encode(%I, ''escape'')', column_name, column_name)
		ELSE format('%I::text', column_name) END AS text
FROM information_schema.columns
WHERE table_schema NOT IN ('pg_catalog', 'information_schema')
	AND data_type NOT IN ('bigint', 'integer', 'smallint', 'boolean', 'uuid', 'timestamp with time zone', 'timestamp without time zone')
ORDER BY 1, 2`

// lookInPostgres searches every column that can hold text, and what sessions are
// asking; together they must hold what customers gave.
func (h *hunt) lookInPostgres() {
	h.t.Helper()
	var columns []struct{ Relation, Name, Text string }
	if err := h.db.SelectContext(h.t.Context(), &columns, selectColumns); err != nil {
		h.t.Fatal(err)
	}
	var all strings.Builder
	looked := map[string]bool{}
	read := func(place, query string) {
		h.t.Helper()
		var texts []string
		if err := h.db.SelectContext(h.t.Context(), &texts, query); err != nil {
			h.t.Fatal(err)
		}
		for _, text := range texts {
			h.look(place, text, h.needles)
			all.WriteString(text)
		}
		looked[place] = true
	}
	for _, c := range columns {
		read("column "+c.Relation+"."+c.Name, `SELECT coalesce(`+c.Text+`, '') FROM `+c.Relation)
	}
	for place, query := range map[string]string{
		"a session's statement": `SELECT coalesce(query, '') FROM pg_stat_activity`,
		"a comment":             `SELECT description FROM pg_description`,
		"a setting":             `SELECT coalesce(setting, '') FROM pg_settings`,
	} {
		read(place, query)
	}
	for _, name := range []string{"webhooks.secrets_sealed", "webhooks.headers_sealed", "events.body", "idempotency_keys.body_hash", "attempts.response_body"} {
		if !looked["column public."+name] {
			h.t.Errorf("nobody looked at %s: the test looks in the wrong place", name)
		}
	}
	for name, datum := range h.customer {
		if !strings.Contains(all.String(), datum) {
			h.t.Errorf("PostgreSQL has no %s: the test looks in the wrong place", name)
		}
	}
}

// fetch searches one answer, its headers included, but for cookies.
func (h *hunt) fetch(place string, c *http.Client, target string, want int) string {
	h.t.Helper()
	resp, err := c.Get(target)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		h.t.Fatalf("%s answers with %s, %v", place, resp.Status, err)
	}
	h.lookBehind(place, fmt.Sprint(resp.Header)+string(text))
	return string(text)
}

// browser has logged in at the monitor, at the second try.
func (h *hunt) browser(addr string) *http.Client {
	h.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Timeout: patience}
	h.t.Cleanup(c.CloseIdleConnections)
	const guess = "guess-at-the-password-7d1e"
	h.hide("wrong password", guess)
	for password, want := range map[string]int{guess: http.StatusUnauthorized, monitorPassword: http.StatusOK} {
		resp, err := c.PostForm("http://"+addr+"/login", url.Values{"user": {monitorUser}, "password": {password}})
		if err != nil {
			h.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want {
			h.t.Fatalf("login: %s, %v", resp.Status, err)
		}
		h.lookBehind("monitor, login", string(text))
	}
	cookies := jar.Cookies(&url.URL{Scheme: "http", Host: addr, Path: "/"})
	if len(cookies) != 1 {
		h.t.Fatalf("%d cookies of the monitor", len(cookies))
	}
	h.hide("monitor's session", cookies[0].Value)
	return c
}

// lookInMonitor searches what an operator can open, and returns all of it.
func (h *hunt) lookInMonitor(c *http.Client, addr string) string {
	h.t.Helper()
	var all strings.Builder
	open := func(path string) string {
		h.t.Helper()
		text := h.fetch("monitor, "+path, c, "http://"+addr+path, http.StatusOK)
		all.WriteString(text)
		return text
	}
	open("/")
	open("/login")
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
