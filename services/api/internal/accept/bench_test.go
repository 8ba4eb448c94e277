package accept_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// subscribe makes n webhooks of a tenant that want every event.
func subscribe(tb testing.TB, db *sqlx.DB, tenant webhook.TenantID, n int) {
	tb.Helper()
	for _, statement := range []string{
		`INSERT INTO webhooks (id, tenant_id, name, url, events, patterns, secrets_sealed, secrets_expire_at,
			max_attempts, timeout_ms, initial_backoff_ms, api_version, created_by)
		SELECT overlay(gen_random_uuid()::text PLACING '7' FROM 15 FOR 1)::uuid, $1, 'n', 'https://example.com', '{}', '{*}', '{x}', '{infinity}', 3, 5000, 5000, 'v', 'me'
		FROM generate_series(1, $2::int)`,
		`INSERT INTO lanes (webhook_id, tenant_id) SELECT id, tenant_id FROM webhooks WHERE tenant_id = $1 AND $2 > 0`,
		`INSERT INTO subscriptions (tenant_id, pattern, webhook_id) SELECT tenant_id, '*', id FROM webhooks WHERE tenant_id = $1 AND $2 > 0`,
	} {
		if _, err := db.ExecContext(context.Background(), statement, tenant, n); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkAccept is what a commit costs, by events and by webhooks that want
// each of them.
func BenchmarkAccept(b *testing.B) {
	for _, size := range []struct{ events, webhooks int }{{1, 1}, {100, 1}, {1000, 1}, {10, 100}, {1000, 100}} {
		b.Run(fmt.Sprintf("%d_events_x_%d", size.events, size.webhooks), func(b *testing.B) {
			s := setup(b, nil)
			subscribe(b, s.db, "acme", size.webhooks)
			events := eventsOf(b, "acme", size.events)
			for b.Loop() {
				if _, err := s.accepter.Accept(b.Context(), events); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size.events*size.webhooks)*float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkAccept_besideLarge is what single events take while 1,000 events for
// 100 webhooks are being stored: those of another tenant, and of the same one.
func BenchmarkAccept_besideLarge(b *testing.B) {
	s := setup(b, nil)
	subscribe(b, s.db, "acme", 100)
	subscribe(b, s.db, "beta", 1)
	accept := func(tenant webhook.TenantID, n int) time.Duration {
		started := time.Now()
		if _, err := s.accepter.Accept(context.Background(), eventsOf(b, tenant, n)); err != nil {
			b.Error(err)
		}
		return time.Since(started)
	}
	accept("acme", 1)
	accept("beta", 1)
	slowest := map[webhook.TenantID]time.Duration{}
	for b.Loop() {
		done := make(chan struct{})
		go func() { accept("acme", 1000); close(done) }()
		for {
			select {
			case <-done:
			default:
				for _, tenant := range []webhook.TenantID{"acme", "beta"} {
					slowest[tenant] = max(slowest[tenant], accept(tenant, 1))
				}
				continue
			}
			break
		}
	}
	b.ReportMetric(slowest["acme"].Seconds()*1000, "same-ms-max")
	b.ReportMetric(slowest["beta"].Seconds()*1000, "other-ms-max")
}
