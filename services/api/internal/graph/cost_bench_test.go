package graph_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

// logRows is how many deliveries the tenant has; another has a fifth of it.
const logRows = 1_000_000

// fillLog makes a log of 30 days: 100 webhooks, of which one has half of the
// deliveries, 2 % of them failed.
const fillLog = `
WITH hooks AS (
	INSERT INTO webhooks (id, tenant_id, name, url, events, patterns, secrets_sealed, secrets_expire_at, max_attempts, timeout_ms,
		initial_backoff_ms, api_version, created_by)
	SELECT (lpad(to_hex(1700000000000 + n), 12, '0') || '7000800000000000' || lpad(to_hex(n), 4, '0'))::uuid,
		CASE WHEN n <= 100 THEN 'acme' ELSE 'globex' END, 'w' || n, 'https://example.com/' || n, '{lead.created}', '{}', '{x}', '{infinity}',
		10, 10000, 5000, '2026-11-01', 'ann'
	FROM generate_series(1, 102) n
	RETURNING id
)
INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, event_type, status, failure_reason, attempt_count, max_attempts, response_status,
	last_error, last_duration_ms, completed_at)
SELECT e.id, CASE WHEN e.hook <= 100 THEN 'acme' ELSE 'globex' END,
	(lpad(to_hex(1700000000000 + e.hook), 12, '0') || '7000800000000000' || lpad(to_hex(e.hook), 4, '0'))::uuid, e.id,
	(ARRAY['lead.created', 'lead.updated', 'contact.created', 'opportunity.won', 'account.updated'])[1 + i % 5],
	CASE WHEN failed THEN 'failed' ELSE 'success' END, CASE WHEN failed THEN 'attempts_exhausted' END, 1, 10,
	CASE WHEN failed THEN 500 ELSE 200 END, CASE WHEN failed THEN 'the receiver answered 500' END, (random() * random() * 3000)::int + 5, now()
FROM (SELECT i, i % 100 < 2 AS failed,
		(lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 2505600000 + i * 2505600000::bigint / $1), 12, '0')
			|| '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid AS id,
		CASE WHEN i % 6 = 5 THEN 101 + i % 2 WHEN i % 2 = 0 THEN 1 ELSE 2 + i % 99 END AS hook
	FROM generate_series(0, $1::bigint - 1) i) e`

// fillPages gives the newest 2,000 deliveries of acme payloads of 2 KB and three
// attempts of 2 KB each.
const fillPages = `
WITH newest AS MATERIALIZED (SELECT id, event_id, event_type FROM deliveries WHERE tenant_id = 'acme' ORDER BY id DESC LIMIT 2000), event AS (
	INSERT INTO events (id, tenant_id, type, body) SELECT event_id, 'acme', event_type, '{"data":"' || repeat('x', 2000) || '"}' FROM newest
)
INSERT INTO attempts (delivery_id, number, started_at, duration_ms, response_status, request_headers, response_headers, response_body)
SELECT id, n, now(), 100, 500, headers, headers, repeat('<', 1000)
FROM newest, generate_series(1, 3) n, (SELECT '[{"name":"X-Filler","value":"' || repeat('y', 450) || '"}]' AS headers) h`

// slow is what no allowed request may take on a tenant with a million deliveries.
const slow = time.Second

// dearest has the dearest requests that the limits allow, of each kind, alone and
// together as somebody would put them who wants to do harm.
func dearest() map[string]string {
	const (
		allStats = `total pending succeeded failed averageDurationMs p95DurationMs`
		plain    = `id eventId eventType webhookId status failureReason attemptCount maxAttempts nextAttemptAt responseStatus lastError createdAt completedAt`
		attempts = `attempts { number startedAt durationMs responseStatus errorClass error requestHeaders { name value } responseHeaders { name value } responseBody }`
	)
	return map[string]string{
		"stats of all time, twice":  `{ a: webhookStats { ` + allStats + ` } b: webhookStats(since: "2020-01-01T00:00:00Z") { ` + allStats + ` } }`,
		"stats of 90 webhooks":      `{ webhooks(first: 90) { nodes { stats { ` + allStats + ` } } } }`,
		"totalCount, twice":         `{ a: webhookDeliveries(filter: {status: FAILED}) { totalCount } b: webhookDeliveries(filter: {event: [LEAD_CREATED], status: SUCCESS}) { totalCount } }`,
		"lists that find nothing":   `{ a: webhookDeliveries(first: 100, filter: {status: PENDING}) { nodes { id } } b: webhookDeliveries(last: 100, filter: {event: ACTIVITY_OVERDUE}) { nodes { id } } }`,
		"lists of 100 webhooks":     `{ webhooks(first: 100) { nodes { ` + pages(3, `deliveries(first: 9) { nodes { id } }`) + ` } } }`,
		"lists of 100 deliveries":   `{ webhookDeliveries(first: 100) { nodes { webhook { ` + pages(3, `deliveries(first: 8) { nodes { id } }`) + ` } } } }`,
		"50 pages of 100":           `{ ` + pages(50, `webhookDeliveries(first: 100) { nodes { id eventType status lastError } }`) + ` }`,
		"payloads and attempts":     `{ ` + pages(3, `webhookDeliveries(first: 100) { nodes { `+plain+` payload `+attempts+` } }`) + ` }`,
		"payloads only":             `{ ` + pages(7, `webhookDeliveries(first: 100) { nodes { payload } }`) + ` }`,
		"payloads under many names": `{ ` + pages(2, `webhookDeliveries(first: 100) { nodes { ...F } }`) + `} fragment F on WebhookDelivery { ` + pages(17, `payload`) + ` }`,
		"attempts one by one":       `{ ` + pages(3, `webhookDeliveries(first: 50) { nodes { webhook { deliveries(first: 1) { nodes { `+attempts+` } } } } }`) + ` }`,
		"headers":                   `{ webhooks(first: 100) { nodes { name description url eventPatterns events ` + pages(9, `headers { name value }`) + ` } } }`,
		"many fields":               `{ webhooks(first: 100) { nodes { deliveries(first: 65) { nodes { ` + plain + ` } } } } }`,
		"introspection":             `{ ` + pages(18, `__schema { ...F }`) + `} fragment F on __Schema { types { kind name description fields { name description args { name } type { name kind ofType { name kind } } } } }`,
		"scans and pages": `{ a: webhookStats { ` + allStats + ` } b: webhookDeliveries(first: 100, filter: {status: PENDING}) { nodes { id } }
			c: webhookDeliveries(first: 20) { nodes { ` + plain + ` payload ` + attempts + ` } } webhookEvents { name examplePayload } }`,
		"stats twice, and pages": `{ a: webhookStats { ` + allStats + ` } b: webhookStats(since: "2020-01-01T00:00:00Z") { ` + allStats + ` } ` + pages(8, `webhookDeliveries(first: 100) { nodes { `+plain+` } }`) + `}`,
		"stats twice, and lists": `{ a: webhookStats { ` + allStats + ` } b: webhookStats(since: "2020-01-01T00:00:00Z") { ` + allStats + ` } webhooks(first: 28) { nodes { deliveries(first: 1) { nodes { ` + plain + ` } } } } }`,
		"scans of webhooks":      `{ webhooks(first: 1) { nodes { a: deliveries { totalCount } stats { ` + allStats + ` } } } ` + pages(7, `webhookDeliveries(first: 100) { nodes { `+plain+` } }`) + `}`,
	}
}

func pages(n int, field string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d: %s\n", i, field)
	}
	return b.String()
}

// BenchmarkDearestQueries shows what the limits are worth on a tenant with a
// million deliveries, and fails where a request takes a second or more. Filling the
// log takes a minute or two.
func BenchmarkDearestQueries(b *testing.B) {
	s := realSchema(b, logRows)
	ctx := as(b, acme, token.Admin)
	for name, document := range dearest() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			longest, bytes := time.Duration(0), 0
			for b.Loop() {
				started := time.Now()
				resp := s.Exec(ctx, document, "", nil)
				longest, bytes = max(longest, time.Since(started)), len(resp.Data)
				if len(resp.Errors) > 0 {
					b.Fatal(resp.Errors[0])
				}
			}
			b.ReportMetric(float64(longest.Milliseconds()), "longest-ms")
			b.ReportMetric(float64(bytes>>10), "answer-KiB")
			if longest >= slow {
				b.Errorf("over: %s, the limit is %s", longest, slow)
			}
		})
	}
}

// realSchema is the api over a log of n deliveries.
func realSchema(t testing.TB, n int) *graph.Schema {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: postgrestest.New(t), MaxConns: 20, StatementTimeout: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	makeLog(t, db, n)
	return managing(t, db)
}

// managing is the api over a database; events go nowhere.
func managing(t testing.TB, db *sqlx.DB) *graph.Schema {
	t.Helper()
	keys := benchKeys(t)
	s, err := graph.NewSchema(graph.Config{
		Management: manage.New(manage.Config{
			Webhooks: postgres.NewWebhooks(db, keys), Deliveries: postgres.NewDeliveries(db, 10), Tests: postgres.NewTestSends(db),
			Lanes: postgres.NewWork(db, keys, 10, time.Now), Doorbell: silence{}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
		}),
		Accept: &fake{}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func makeLog(t testing.TB, db *sqlx.DB, n int) {
	t.Helper()
	ctx := context.Background()
	for day := range 30 {
		for _, table := range []string{"events", "deliveries", "attempts"} {
			if _, err := db.ExecContext(ctx, `SELECT create_day_partition($1, $2::date)`, table, time.Now().UTC().AddDate(0, 0, -day).Format(time.DateOnly)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := db.ExecContext(ctx, fillLog, n*6/5); err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, fillPages); err != nil {
		t.Fatal(err)
	}
	giveHeaders(t, db)
	for _, table := range []string{"webhooks", "events", "deliveries", "attempts"} {
		if _, err := db.ExecContext(ctx, `VACUUM ANALYZE `+table); err != nil {
			t.Fatal(err)
		}
	}
}

// giveHeaders makes ten webhooks of acme as large as they can be.
func giveHeaders(t testing.TB, db *sqlx.DB) {
	t.Helper()
	var headers []webhook.Header
	for i := range 20 {
		headers = append(headers, webhook.Header{Name: fmt.Sprint("X-Filler-", i), Value: strings.Repeat("z", 4<<10)})
	}
	var ids []string
	if err := db.SelectContext(t.Context(), &ids, `SELECT id FROM webhooks WHERE tenant_id = 'acme' ORDER BY id LIMIT 10`); err != nil {
		t.Fatal(err)
	}
	for _, text := range ids {
		id, err := webhook.WebhookIDFromUUID(text)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := postgres.SealHeaders(benchKeys(t), acme, id, headers)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `UPDATE webhooks SET headers_sealed = $2, url = $3 WHERE id = $1`, text, sealed, "https://example.com/"+strings.Repeat("u", 2000)); err != nil {
			t.Fatal(err)
		}
	}
}

func benchKeys(t testing.TB) seal.Keyring {
	t.Helper()
	keys, err := seal.ParseKeys("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// silence rings for nothing.
type silence struct{}

func (silence) Ring([]webhook.Owed)       {}
func (silence) RingReplay([]webhook.Owed) {}
