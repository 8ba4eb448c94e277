package e2e_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// names are the ids of one tenant's things, and cursors that lead to them.
type names struct{ hook, delivery, event, hookCursor, deliveryCursor string }

// other returns names of the same kinds and times that nothing has.
func (n names) other(t *testing.T) names {
	t.Helper()
	id := func(id string) string {
		last := "0"
		if strings.HasSuffix(id, "0") {
			last = "1"
		}
		return id[:len(id)-1] + last
	}
	cursor := func(c string) string {
		plain, err := base64.RawURLEncoding.DecodeString(c)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(id(string(plain))))
	}
	return names{id(n.hook), id(n.delivery), id(n.event), cursor(n.hookCursor), cursor(n.deliveryCursor)}
}

// hidden replaces the names in an answer.
func (n names) hidden(text string) string {
	return strings.NewReplacer(n.hook, "HOOK", n.delivery, "DELIVERY", n.event, "EVENT",
		n.hookCursor, "HOOK CURSOR", n.deliveryCursor, "DELIVERY CURSOR").Replace(text)
}

// TestI5_anotherTenantsIdsAreUnknown tries every operation that takes an id or
// a cursor with another tenant's: nothing tells it from one that nothing has.
func TestI5_anotherTenantsIdsAreUnknown(t *testing.T) {
	t.Parallel()
	s, r := newSystem(t), newReceiver(t)
	api, worker := s.api(), s.worker()
	victim, stranger := s.client(api, "victim"), s.client(api, "stranger")
	theirs := populate(t, s, r, victim, "/victim")
	own := populate(t, s, r, stranger, "/stranger")
	worker.kill() // from here on nothing changes by itself
	unknown := theirs.other(t)
	before := s.dump()
	came := len(r.perDelivery())

	hookChange := vars{"name": "mine now", "url": r.URL + "/stranger", "status": "PAUSED"}
	for name, op := range map[string]struct {
		query string
		vars  func(n names) vars
	}{
		"webhook":              {queryHook, func(n names) vars { return vars{"id": n.hook} }},
		"webhookDelivery":      {queryDelivery, func(n names) vars { return vars{"id": n.delivery} }},
		"webhookDeliveries":    {queryDeliveries, func(n names) vars { return vars{"id": n.hook} }},
		"deliveries by event":  {queryDeliveries, func(n names) vars { return vars{"filter": vars{"eventId": n.event}} }},
		"deliveries after":     {queryDeliveries, func(n names) vars { return vars{"after": n.deliveryCursor, "first": 5} }},
		"deliveries before":    {queryDeliveries, func(n names) vars { return vars{"before": n.deliveryCursor, "last": 5} }},
		"webhooks after":       {queryHooks, func(n names) vars { return vars{"after": n.hookCursor, "first": 5} }},
		"webhooks before":      {queryHooks, func(n names) vars { return vars{"before": n.hookCursor, "last": 5} }},
		"webhooks by id":       {queryHooks, func(n names) vars { return vars{"filter": vars{"search": n.hook}} }},
		"webhookStats":         {queryStats, func(n names) vars { return vars{"id": n.hook} }},
		"updateWebhook":        {updateHook, func(n names) vars { return vars{"id": n.hook, "input": hookChange} }},
		"updateWebhook badly":  {updateHook, func(n names) vars { return vars{"id": n.hook, "input": vars{"name": ""}} }},
		"rotateWebhookSecret":  {rotateHook, func(n names) vars { return vars{"id": n.hook} }},
		"testWebhook":          {testHook, func(n names) vars { return vars{"id": n.hook} }},
		"deleteWebhook":        {deleteHook, func(n names) vars { return vars{"id": n.hook} }},
		"retryWebhookDelivery": {retryDelivery, func(n names) vars { return vars{"id": n.delivery} }},
		"deliveries of own webhook after": {
			`query($id:ID!,$after:String){webhook(id:$id){deliveries(first:5,after:$after){nodes{id} totalCount}}}`,
			func(n names) vars { return vars{"id": own.hook, "after": n.deliveryCursor} },
		},
	} {
		foreign, none := stranger.ask(op.query, op.vars(theirs)), stranger.ask(op.query, op.vars(unknown))
		if foreign.Status != none.Status {
			t.Errorf("%s: HTTP %d for another tenant's id, %d for one that nothing has", name, foreign.Status, none.Status)
		}
		if diff := cmp.Diff(unknown.hidden(none.Text), theirs.hidden(foreign.Text)); diff != "" {
			t.Errorf("%s: another tenant's id is answered otherwise than one that nothing has: %s", name, diff)
		}
		for _, secret := range []string{"/victim", "name of /victim"} {
			if strings.Contains(foreign.Text, secret) {
				t.Errorf("%s shows another tenant's data: %s", name, foreign.Text)
			}
		}
	}
	if got := get[page[hook]](stranger, queryHooks, vars{"filter": vars{"search": "victim"}}); got.TotalCount != 0 || len(got.Nodes) != 0 {
		t.Errorf("searching finds another tenant's webhooks: %+v", got)
	}
	if got := get[page[delivery]](stranger, queryDeliveries, nil); got.TotalCount != 1 || len(got.Nodes) != 1 || got.Nodes[0].ID != own.delivery {
		t.Errorf("the stranger's own deliveries = %v", got)
	}
	if diff := cmp.Diff(before, s.dump()); diff != "" {
		t.Errorf("the stranger changed something: %s", diff)
	}
	if got := len(r.perDelivery()); got != came {
		t.Errorf("the stranger caused %d requests", got-came)
	}
	// The victim still can do all of that.
	if got := get[*delivery](victim, queryDelivery, vars{"id": theirs.delivery}); got == nil || got.Webhook == nil {
		t.Errorf("the victim's own delivery = %v", got)
	}
}

// populate makes a webhook with one delivery that has failed.
func populate(t *testing.T, s *system, r *receiver, c *client, path string) (n names) {
	t.Helper()
	made := r.subscribe(c, path, vars{"name": "name of " + path, "maxAttempts": 1})
	r.answer(path, status(http.StatusInternalServerError))
	n.hook = made.Webhook.ID
	n.event = c.dispatch(event("1")).EventID
	n.delivery = c.awaitDelivery(n.event, finished).ID
	s.awaitIdle()
	n.hookCursor = text(get[page[hook]](c, queryHooks, nil).PageInfo.EndCursor)
	n.deliveryCursor = text(get[page[delivery]](c, queryDeliveries, nil).PageInfo.EndCursor)
	return n
}

// dump is the content of all tables, by table.
func (s *system) dump() map[string][]string {
	s.t.Helper()
	var tables []string
	if err := s.db.SelectContext(s.t.Context(), &tables, `SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
		WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')`); err != nil {
		s.t.Fatal(err)
	}
	rows := map[string][]string{}
	for _, table := range tables {
		var texts []string
		if err := s.db.SelectContext(s.t.Context(), &texts, `SELECT t::text FROM `+table+` t ORDER BY 1`); err != nil {
			s.t.Fatal(err)
		}
		rows[table] = texts
	}
	return rows
}
