package graph_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
)

// crawler is the api over a real PostgreSQL, with two tenants in it: acme asks,
// globex has what acme must not find.
type crawler struct {
	db      *sqlx.DB
	schema  *graph.Schema
	acme    context.Context //nolint:containedctx // carries the principal of a token
	globex  context.Context //nolint:containedctx // likewise
	foreign map[string]string
	unknown map[string]string
}

// crawls has a document for each root field of the schema that takes what could
// be another tenant's; $hook, $delivery, $event, $hookCursor and $deliveryCursor
// stand for it. Those that take nothing of the kind have none.
func crawls() map[string][]string {
	const delivery = `id status payload attempts { number } webhook { id stats { total } }`
	return map[string][]string{
		"viewer":        nil,
		"webhookEvents": nil,
		"createWebhook": nil,
		"dispatchEvent": nil, "dispatchEvents": nil, // objectId is the CRM's
		"webhook": {`{ webhook(id: "$hook") { id name deliveries(first: 3) { totalCount nodes { id } } stats { total } } }`},
		"webhooks": {
			`{ webhooks(first: 3, after: "$hookCursor") { nodes { id } pageInfo { hasNextPage hasPreviousPage } totalCount } }`,
			`{ webhooks(last: 3, before: "$hookCursor") { nodes { id } pageInfo { hasNextPage hasPreviousPage } totalCount } }`,
		},
		"webhookDelivery": {`{ webhookDelivery(id: "$delivery") { ` + delivery + ` } }`},
		"webhookDeliveries": {
			`{ webhookDeliveries(webhookId: "$hook") { nodes { id } totalCount pageInfo { hasNextPage } } }`,
			`{ webhookDeliveries(webhookId: "$hook", filter: {status: FAILED}) { nodes { id } } }`,
			`{ webhookDeliveries(filter: {eventId: "$event"}) { nodes { ` + delivery + ` } totalCount } }`,
			`{ webhookDeliveries(first: 3, after: "$deliveryCursor") { nodes { id } pageInfo { hasNextPage hasPreviousPage } totalCount } }`,
			`{ webhookDeliveries(last: 3, before: "$deliveryCursor") { nodes { id } pageInfo { hasNextPage hasPreviousPage } totalCount } }`,
			`{ webhookDeliveries(webhookId: "$hook", after: "$deliveryCursor") { nodes { id } pageInfo { hasPreviousPage } } }`,
		},
		"webhookStats":         {`{ webhookStats(webhookId: "$hook") { total succeeded failed successRate averageDurationMs p95DurationMs } }`},
		"updateWebhook":        {`mutation { updateWebhook(id: "$hook", input: {name: "taken"}) { webhook { id } userErrors { message code field } } }`},
		"deleteWebhook":        {`mutation { deleteWebhook(id: "$hook") { deletedId userErrors { message code field } } }`},
		"testWebhook":          {`mutation { testWebhook(id: "$hook") { success error delivery { id } userErrors { message code field } } }`},
		"rotateWebhookSecret":  {`mutation { rotateWebhookSecret(id: "$hook") { webhook { id } secret userErrors { message code field } } }`},
		"retryWebhookDelivery": {`mutation { retryWebhookDelivery(id: "$delivery") { delivery { id } userErrors { message code field } } }`},
	}
}

// TestI5_crawl tries every operation with every id and cursor of another tenant:
// the answer is that of an id that never existed, to the byte, and nothing of the
// other tenant has changed.
func TestI5_crawl(t *testing.T) {
	t.Parallel()
	c := newCrawler(t, 50)
	before := c.state(t)
	c.eachCase(t, func(t *testing.T, document string) {
		foreign, unknown := c.ask(t, c.acme, document, c.foreign), c.ask(t, c.acme, document, c.unknown)
		// The ids that the caller sent may be repeated; both are of one length.
		if mask(foreign, c.foreign) != mask(unknown, c.unknown) {
			t.Errorf("%s\nforeign: %s\nunknown: %s", document, foreign, unknown)
		}
		for name, id := range c.foreign {
			if strings.Contains(foreign, id) {
				t.Errorf("%s\nshows the %s of another tenant: %s", document, name, foreign)
			}
		}
		if !strings.HasPrefix(document, "mutation") && !strings.Contains(document, "Cursor") {
			// To its owner it is there: the document asks for what exists.
			if own := c.ask(t, c.globex, document, c.foreign); own == c.ask(t, c.globex, document, c.unknown) {
				t.Errorf("%s\nfinds nothing for its owner either: %s", document, own)
			}
		}
	})
	if after := c.state(t); after != before {
		t.Errorf("the other tenant's data have changed:\n%s\n%s", before, after)
	}
}

// TestI5_noDifferenceInTime: what another tenant has takes no longer to be passed
// over than what does not exist, though there are 10,000 deliveries of it. A
// difference counts when the medians of runs that take turns show it time and
// again, the same way round: a busy machine does not do that.
func TestI5_noDifferenceInTime(t *testing.T) { //nolint:paralleltest // others would disturb the measurement
	c := newCrawler(t, 10_000)
	c.eachCase(t, func(t *testing.T, document string) {
		var seen []time.Duration
		for range 8 {
			diff := c.difference(t, document)
			if len(seen) > 0 && (diff > 0) != (seen[0] > 0) {
				return
			}
			if seen = append(seen, diff); diff.Abs() < time.Millisecond {
				return
			}
		}
		t.Errorf("%s\nforeign less unknown: %s", document, seen)
	})
}

// difference is by how much the median of asking for what is foreign is above
// that of asking for what does not exist.
func (c *crawler) difference(t *testing.T, document string) time.Duration {
	t.Helper()
	const rounds = 9
	var foreign, unknown []time.Duration
	for range rounds {
		foreign = append(foreign, c.time(t, document, c.foreign))
		unknown = append(unknown, c.time(t, document, c.unknown))
	}
	slices.Sort(foreign)
	slices.Sort(unknown)
	return foreign[rounds/2] - unknown[rounds/2]
}

// eachCase runs fn for each document, and fails for a root field without any.
func (c *crawler) eachCase(t *testing.T, fn func(t *testing.T, document string)) {
	t.Helper()
	var schema struct {
		Schema map[string]struct{ Fields []struct{ Name string } } `json:"__schema"`
	}
	resp := c.schema.Exec(c.acme, `{ __schema { queryType { fields { name } } mutationType { fields { name } } } }`, "", nil)
	if err := json.Unmarshal(resp.Data, &schema); err != nil || len(schema.Schema) != 2 {
		t.Fatal(err, resp.Errors)
	}
	for _, root := range schema.Schema {
		for _, field := range root.Fields {
			documents, known := crawls()[field.Name]
			if !known {
				t.Errorf("the crawl has no case for %s", field.Name)
			}
			for _, document := range documents {
				fn(t, document)
			}
		}
	}
}

func (c *crawler) ask(t *testing.T, who context.Context, document string, ids map[string]string) string { //nolint:revive // t comes first
	t.Helper()
	text, err := json.Marshal(c.schema.Exec(who, filled(document, ids), "", nil))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (c *crawler) time(t *testing.T, document string, ids map[string]string) time.Duration {
	t.Helper()
	document = filled(document, ids)
	started := time.Now()
	c.schema.Exec(c.acme, document, "", nil)
	return time.Since(started)
}

func filled(document string, ids map[string]string) string {
	for name, id := range ids {
		document = strings.ReplaceAll(document, `"$`+name+`"`, `"`+id+`"`)
	}
	return document
}

func mask(answer string, ids map[string]string) string {
	for name, id := range ids {
		answer = strings.ReplaceAll(answer, id, name)
	}
	return answer
}

// state is all that globex has.
func (c *crawler) state(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	for _, table := range []string{"webhooks", "subscriptions", "lanes", "events", "deliveries", "pending_deliveries"} {
		var text string
		query := fmt.Sprintf(`SELECT coalesce(string_agg(x::text, ' ' ORDER BY x::text), '') FROM %s x WHERE tenant_id = 'globex'`, table)
		if err := c.db.GetContext(t.Context(), &text, query); err != nil {
			t.Fatal(err)
		}
		out.WriteString(text + "\n")
	}
	return out.String()
}

func newCrawler(t *testing.T, n int) *crawler {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: postgrestest.New(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := managing(t, db)
	c := &crawler{db: db, schema: s, acme: as(t, acme, token.Admin), globex: as(t, globex, token.Admin)}
	c.log(t, acme, c.create(t, c.acme), 4*n) // so many that the foreign webhook is the better way to them
	hook := c.create(t, c.globex)
	event := c.log(t, globex, hook, n)
	c.foreign = idsOf(hook, event)
	// Ids that never existed differ in their random part only: they are as old,
	// and would lie in the same partition.
	noHook, err := webhook.WebhookIDFromUUID(neighbour(hook.UUID()))
	if err != nil {
		t.Fatal(err)
	}
	noEvent, err := webhook.EventIDFromUUID(neighbour(event.UUID()))
	if err != nil {
		t.Fatal(err)
	}
	c.unknown = idsOf(noHook, noEvent)
	return c
}

func idsOf(hook webhook.WebhookID, event webhook.EventID) map[string]string {
	delivery := webhook.DeliveryIDFor(event, hook)
	cursor := func(id fmt.Stringer) string { return base64.RawURLEncoding.EncodeToString([]byte("1:" + id.String())) }
	return map[string]string{
		"hook": hook.String(), "event": event.String(), "delivery": delivery.String(),
		"hookCursor": cursor(hook), "deliveryCursor": cursor(delivery),
	}
}

func neighbour(uuid string) string {
	last := "0"
	if strings.HasSuffix(uuid, last) {
		last = "1"
	}
	return uuid[:len(uuid)-1] + last
}

func (c *crawler) create(t *testing.T, who context.Context) webhook.WebhookID { //nolint:revive // t comes first
	t.Helper()
	got := run(t, who, c.schema, `mutation { createWebhook(input: {name: "n", url: "https://example.com/", events: [LEAD_CREATED]}) { webhook { id } } }`, "")
	id, err := webhook.ParseWebhookID(is[string](t, got.at(t, "createWebhook.webhook.id")))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// log stores n deliveries to a webhook and one more, failed, with its event and
// an attempt; it returns that event.
func (c *crawler) log(t *testing.T, tenant webhook.TenantID, hook webhook.WebhookID, n int) webhook.EventID {
	t.Helper()
	event := webhook.NewEventID(time.Now().Add(-time.Minute), [10]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, byte(n)})
	delivery := webhook.DeliveryIDFor(event, hook)
	for _, statement := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, event_type, status, attempt_count, max_attempts, response_status, last_duration_ms, completed_at)
		SELECT delivery_id(e, $2), $1, $2, e, 'lead.created', 'success', 1, 3, 200, i % 1000, now() FROM (
			SELECT i, (substr(uuid_floor(now() - make_interval(secs => 3600 + i * 0.002))::text, 1, 13) || '-7' || substr(md5(i::text || $1), 1, 3)
				|| '-8' || substr(md5(i::text || $1), 4, 3) || '-' || substr(md5(i::text || $1), 7, 12))::uuid AS e FROM generate_series(1, $3::int) i) x`, []any{tenant, hook.UUID(), n}},
		{`INSERT INTO events (id, tenant_id, type, body) VALUES ($1, $2, 'lead.created', '{}')`, []any{event.UUID(), tenant}},
		{`INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, event_type, status, failure_reason, attempt_count, max_attempts, completed_at)
		VALUES ($1, $2, $3, $4, 'lead.created', 'failed', 'attempts_exhausted', 1, 1, now())`, []any{delivery.UUID(), tenant, hook.UUID(), event.UUID()}},
		{`INSERT INTO attempts (delivery_id, number, started_at, duration_ms, request_headers, response_headers) VALUES ($1, 1, now(), 5, '[]', '[]')`, []any{delivery.UUID()}},
		{`ANALYZE deliveries`, nil},
	} {
		if _, err := c.db.ExecContext(t.Context(), statement.text, statement.args...); err != nil {
			t.Fatal(err)
		}
	}
	return event
}
