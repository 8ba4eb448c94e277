package graph_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/graph-gophers/graphql-go/ast"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/schema"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

// tenants is a fake with a webhook and a failed delivery of each tenant.
func tenants() (f *fake, ours, theirs webhook.Delivery) {
	f = &fake{hooks: append(webhooks(acme, 0, 1), webhooks(globex, 50, 1)...)}
	f.deliveries = append(deliveries(f.hooks[0], 1), deliveries(f.hooks[1], 1)...)
	f.payloads = map[webhook.EventID]string{f.deliveries[0].EventID: `{"id":1}`, f.deliveries[1].EventID: `{"id":1}`}
	for i := range f.deliveries {
		f.deliveries[i].Status = webhook.Failed
	}
	f.result = manage.TestResult{Success: true, ResponseStatus: 200, Delivery: f.deliveries[0]}
	return f, f.deliveries[0], f.deliveries[1]
}

// operations has a document for every root field. $hook and $delivery stand for
// ids.
func operations() map[string]string {
	return map[string]string{
		"viewer":               `{ viewer { subject tenantId role permissions } }`,
		"webhook":              `{ webhook(id: "$hook") { id deliveries { totalCount } stats { total } } }`,
		"webhooks":             `{ webhooks { nodes { id } totalCount } }`,
		"webhookDelivery":      `{ webhookDelivery(id: "$delivery") { id payload attempts { number } webhook { id } } }`,
		"webhookDeliveries":    `{ webhookDeliveries(webhookId: "$hook") { nodes { id } totalCount } }`,
		"webhookEvents":        `{ webhookEvents { event name object description examplePayload } }`,
		"webhookStats":         `{ webhookStats(webhookId: "$hook") { total } }`,
		"createWebhook":        `mutation { createWebhook(input: {name: "n", url: "https://example.com", events: [LEAD_CREATED]}) { webhook { id } userErrors { code } } }`,
		"updateWebhook":        `mutation { updateWebhook(id: "$hook", input: {name: "new"}) { webhook { id } userErrors { code } } }`,
		"deleteWebhook":        `mutation { deleteWebhook(id: "$hook") { deletedId userErrors { code } } }`,
		"testWebhook":          `mutation { testWebhook(id: "$hook") { success delivery { id } userErrors { code } } }`,
		"rotateWebhookSecret":  `mutation { rotateWebhookSecret(id: "$hook") { webhook { id } secret userErrors { code } } }`,
		"dispatchEvent":        `mutation { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: {}}) { eventId userErrors { code } } }`,
		"dispatchEvents":       `mutation { dispatchEvents(inputs: [{event: LEAD_CREATED, objectId: "1", object: {}}]) { eventIds userErrors { code } } }`,
		"retryWebhookDelivery": `mutation { retryWebhookDelivery(id: "$delivery") { delivery { id } userErrors { code } } }`,
	}
}

func withIDs(document string, d webhook.Delivery) string {
	return strings.NewReplacer("$hook", d.WebhookID.String(), "$delivery", d.ID.String()).Replace(document)
}

// TestPermissions_roleByOperation is the table of the contract, every operation
// for every role and for nobody.
func TestPermissions_roleByOperation(t *testing.T) {
	t.Parallel()
	const nobody token.Role = ""
	everybody := []token.Role{token.Admin, token.Manager, token.SalesRep, token.ReadOnly, token.Service}
	readers := []token.Role{token.Admin, token.Manager, token.SalesRep, token.ReadOnly}
	editors := []token.Role{token.Admin, token.Manager}
	allowed := map[string][]token.Role{
		"viewer":               everybody,
		"webhook":              readers,
		"webhooks":             readers,
		"webhookDelivery":      readers,
		"webhookDeliveries":    readers,
		"webhookEvents":        everybody,
		"webhookStats":         readers,
		"createWebhook":        editors,
		"updateWebhook":        editors,
		"deleteWebhook":        {token.Admin},
		"testWebhook":          editors,
		"rotateWebhookSecret":  editors,
		"dispatchEvent":        {token.Admin, token.Service},
		"dispatchEvents":       {token.Admin, token.Service},
		"retryWebhookDelivery": editors,
	}
	needs := map[string]string{
		"createWebhook": "WEBHOOK_CREATE", "updateWebhook": "WEBHOOK_UPDATE", "deleteWebhook": "WEBHOOK_DELETE",
		"testWebhook": "WEBHOOK_TEST", "rotateWebhookSecret": "WEBHOOK_UPDATE", "retryWebhookDelivery": "WEBHOOK_UPDATE",
		"dispatchEvent": "EVENT_DISPATCH", "dispatchEvents": "EVENT_DISPATCH",
	}
	for name, document := range operations() {
		for _, role := range append(everybody, nobody) {
			t.Run(name+"/"+string(role), func(t *testing.T) {
				t.Parallel()
				f, ours, _ := tenants()
				ctx, want, text := t.Context(), "UNAUTHENTICATED", "token"
				if role != nobody {
					ctx, want = as(t, acme, role), "FORBIDDEN"
					if text = needs[name]; text == "" {
						text = "WEBHOOK_READ"
					}
				}
				for _, r := range allowed[name] {
					if r == role {
						want = ""
					}
				}
				got := run(t, ctx, newSchema(t, f), withIDs(document, ours), "")
				if code := got.code(t); code != want {
					t.Fatalf("code = %q, want %q; %v", code, want, got.Errors)
				}
				if want != "" && !strings.Contains(got.Errors[0].Message, text) {
					t.Errorf("message = %q, want it to name %s", got.Errors[0].Message, text)
				}
				if want != "" && len(f.calls) > 0 {
					t.Errorf("refused, yet called %v", f.calls)
				}
			})
		}
	}
}

// TestPermissions_coverTheSchema fails when a root field is added without a row
// in the tables here.
func TestPermissions_coverTheSchema(t *testing.T) {
	t.Parallel()
	all := operations()
	for _, rootType := range []string{"Query", "Mutation"} {
		object, ok := parse(t, schema.GraphQL()).Types[rootType].(*ast.ObjectTypeDefinition)
		if !ok {
			t.Fatalf("%s is no object", rootType)
		}
		for _, field := range object.Fields {
			if _, ok := all[field.Name]; !ok {
				t.Errorf("no test of %s.%s", rootType, field.Name)
			}
		}
	}
}

// TestPermissions_belowAMutation: who may retry but not read learns nothing
// beyond the delivery itself.
func TestPermissions_belowAMutation(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	ctx := narrowed(t, "WEBHOOK_UPDATE")
	document := withIDs(`mutation { retryWebhookDelivery(id: "$delivery") { delivery { id status } } }`, ours)
	if got := run(t, ctx, newSchema(t, f), document, ""); len(got.Errors) > 0 {
		t.Fatal(got.Errors)
	}
	for _, field := range []string{"payload", "attempts { number }", "webhook { id }"} {
		document := withIDs(`mutation { retryWebhookDelivery(id: "$delivery") { delivery { id `+field+` } } }`, ours)
		if code := run(t, ctx, newSchema(t, f), document, "").code(t); code != "FORBIDDEN" {
			t.Errorf("%s: code = %q, want FORBIDDEN", field, code)
		}
	}
	for _, field := range []string{"deliveries { totalCount }", "stats { total }"} {
		document := withIDs(`mutation { updateWebhook(id: "$hook", input: {}) { webhook { id `+field+` } } }`, ours)
		if code := run(t, ctx, newSchema(t, f), document, "").code(t); code != "FORBIDDEN" {
			t.Errorf("%s: code = %q, want FORBIDDEN", field, code)
		}
	}
}

// TestI5_foreignIDsAreUnknown tries another tenant's ids, ids that never existed
// and texts that are no ids, on every operation that takes one.
func TestI5_foreignIDsAreUnknown(t *testing.T) {
	t.Parallel()
	notFound := []any{map[string]any{"code": "NOT_FOUND"}}
	want := map[string]func(t *testing.T, a answer) bool{
		"webhook":              func(t *testing.T, a answer) bool { return a.at(t, "webhook") == nil },
		"webhookDelivery":      func(t *testing.T, a answer) bool { return a.at(t, "webhookDelivery") == nil },
		"webhookDeliveries":    func(t *testing.T, a answer) bool { return a.at(t, "webhookDeliveries.totalCount") == 0.0 },
		"webhookStats":         func(t *testing.T, a answer) bool { return a.at(t, "webhookStats.total") == 0.0 },
		"updateWebhook":        nil,
		"deleteWebhook":        nil,
		"testWebhook":          nil,
		"rotateWebhookSecret":  nil,
		"retryWebhookDelivery": nil,
	}
	_, _, theirs := tenants()
	unknown := theirs
	unknown.WebhookID, unknown.ID = hookID(999), webhook.DeliveryIDFor(eventID(999), hookID(999))
	for name, check := range want {
		for what, document := range map[string]string{
			"foreign":    withIDs(operations()[name], theirs),
			"unknown":    withIDs(operations()[name], unknown),
			"malformed":  strings.NewReplacer("$hook", "whk_1", "$delivery", "dlv_1").Replace(operations()[name]),
			"other kind": strings.NewReplacer("$hook", theirs.ID.String(), "$delivery", theirs.WebhookID.String()).Replace(operations()[name]),
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				f, _, _ := tenants()
				got := runAs(t, f, document, "")
				if len(got.Errors) > 0 {
					t.Fatal(got.Errors)
				}
				if check != nil {
					if !check(t, got) {
						t.Errorf("answer = %v", got.Data)
					}
					return
				}
				if errs := got.at(t, name+".userErrors"); !equal(errs, notFound) {
					t.Errorf("userErrors = %v, want %v", errs, notFound)
				}
			})
		}
	}
}

// TestI5_listsShowTheTenantOnly pages with another tenant's cursor and filters by
// another tenant's event.
func TestI5_listsShowTheTenantOnly(t *testing.T) {
	t.Parallel()
	f, ours, theirs := tenants()
	foreign := run(t, as(t, globex, token.Admin), newSchema(t, f), `{ webhooks { edges { cursor } } webhookDeliveries { edges { cursor } } }`, "")
	hookCursor := is[string](t, foreign.at(t, "webhooks.edges.0.cursor"))
	deliveryCursor := is[string](t, foreign.at(t, "webhookDeliveries.edges.0.cursor"))
	got := runAs(t, f, `{
		webhooks(after: "`+hookCursor+`") { nodes { id } }
		after: webhookDeliveries(after: "`+deliveryCursor+`") { nodes { id webhookId } }
		before: webhookDeliveries(last: 5, before: "`+deliveryCursor+`") { nodes { id webhookId } }
	}`, "")
	for _, list := range []string{"webhooks.nodes", "after.nodes", "before.nodes"} {
		nodes, _ := got.at(t, list).([]any)
		for _, node := range nodes {
			if equal(node, map[string]any{"id": theirs.WebhookID.String()}) || equal(node, map[string]any{"id": theirs.ID.String(), "webhookId": theirs.WebhookID.String()}) {
				t.Errorf("%s shows %v of another tenant", list, node)
			}
		}
	}
	if nodes, _ := got.at(t, "webhooks.nodes").([]any); len(nodes) != 1 || !equal(nodes[0], map[string]any{"id": ours.WebhookID.String()}) {
		t.Errorf("webhooks after a foreign cursor = %v, want ours", nodes)
	}
}

// TestPermissions_introspection: whoever may read may see the schema, in a query
// of its own or inside another, and nobody else; everybody may ask for __typename.
func TestPermissions_introspection(t *testing.T) {
	t.Parallel()
	const everywhere = `viewer { __typename } __typename`
	documents := map[string]string{
		"schema":        `{ __schema { queryType { name } } }`,
		"type":          `{ __type(name: "Query") { name fields { name } } }`,
		"both":          `{ viewer { role } a: __schema { types { name } } b: __type(name: "Query") { name } }`,
		"in a fragment": `query Q { ...F } fragment F on Query { __schema { queryType { name } } }`,
		"below":         `{ viewer { role __schema { queryType { name } } } }`,
		"in a mutation": `mutation { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: {}}) { eventId __schema { queryType { name } } } }`,
	}
	callers := map[string]context.Context{"narrowed": narrowed(t, "EVENT_DISPATCH", "WEBHOOK_UPDATE"), "reader": narrowed(t, "WEBHOOK_READ", "EVENT_DISPATCH"), "": t.Context()}
	may := map[string]bool{"reader": true, string(token.Admin): true, string(token.Manager): true, string(token.SalesRep): true, string(token.ReadOnly): true}
	for _, role := range token.Roles() {
		callers[string(role)] = as(t, acme, role)
	}
	for caller, ctx := range callers {
		for name, document := range documents {
			f := &fake{}
			got := run(t, ctx, newSchema(t, f), document, "")
			switch {
			case caller == "":
				if got.code(t) != "UNAUTHENTICATED" {
					t.Errorf("nobody: %s: %v", name, got.Errors)
				}
			case may[caller] && name != "in a mutation":
				if len(got.Errors) > 0 || !strings.Contains(fmt.Sprint(got.Data), "Query") {
					t.Errorf("%s: %s: %v %v", caller, name, got.Data, got.Errors)
				}
			case !may[caller]:
				if got.code(t) != "FORBIDDEN" || got.Errors[0].Message != "introspection needs the permission WEBHOOK_READ" || len(f.calls) > 0 {
					t.Errorf("%s: %s: %v, called %v", caller, name, got.Errors, f.calls)
				}
			}
		}
		if got := run(t, ctx, newSchema(t, &fake{}), `{ `+everywhere+` }`, ""); caller != "" && (len(got.Errors) > 0 || got.at(t, "__typename") != "Query") {
			t.Errorf("%s: __typename: %v %v", caller, got.Data, got.Errors)
		}
	}
}
