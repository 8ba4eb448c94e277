package app_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/services/api/app"
)

const noRedis = "redis://127.0.0.1:1"

// TestReady_withoutAFreeConnection: an api whose connections are all in use still
// takes part.
func TestReady_withoutAFreeConnection(t *testing.T) {
	t.Parallel()
	a := start(t, settings(t, postgrestest.New(t), noRedis))
	defer a.end()
	for range a.app.Pool().Stats().MaxOpenConnections {
		conn, err := a.app.Pool().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	if status := a.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz = %d", status)
	}
}

// TestReady_notMigrated: /readyz says why, and requests may be tried again later.
func TestReady_notMigrated(t *testing.T) {
	t.Parallel()
	a := start(t, settings(t, postgrestest.NewEmpty(t), noRedis))
	defer a.end()
	if status := a.get("/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %d", status)
	}
	for _, query := range []string{
		`{ webhooks { nodes { id } } }`, `{ webhookStats { total } }`, `{ webhookDeliveries { totalCount } }`, create, dispatch,
	} {
		if answer := a.graphql("acme", query); !strings.Contains(answer, `"code":"UNAVAILABLE"`) {
			t.Errorf("%s: %s", query, answer)
		}
	}
}

// TestTenants_oneAtItsLimitKeepsNobodyWaiting: one tenant's queries all hang, and
// another's are answered as ever. Those of the first that wait for their turn are
// answered in the end.
func TestTenants_oneAtItsLimitKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	a := start(t, settings(t, url, noRedis))
	defer a.end()
	db, err := postgres.Open(postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	locked, err := db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locked.ExecContext(t.Context(), `SET LOCAL idle_in_transaction_session_timeout = 0; LOCK TABLE deliveries`); err != nil {
		t.Fatal(err)
	}
	const greedy = 30
	answers := make(chan string, greedy)
	for range greedy {
		go func() { // waited for below
			answers <- a.graphql("acme", `{ a: webhookDeliveries { nodes { id } } b: webhookDeliveries { nodes { id } } c: webhookDeliveries { nodes { id } }
				d: webhookDeliveries { nodes { id } } e: webhookDeliveries { nodes { id } } f: webhookDeliveries { nodes { id } } }`)
		}()
	}
	awaitWaiting(t, db, app.MaxOperations*app.MaxOperations)
	for range 5 {
		started := time.Now()
		answer := a.graphql("globex", `{ webhooks { nodes { id } totalCount } }`)
		if took := time.Since(started); strings.Contains(answer, "errors") || took > 3*time.Second {
			t.Errorf("another tenant: %s after %s", answer, took)
		}
	}
	if status := a.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz = %d", status)
	}
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range greedy {
		if answer := <-answers; strings.Contains(answer, "errors") {
			t.Errorf("who waited: %s", answer)
		}
	}
}

// awaitWaiting returns when as many statements wait for a lock.
func awaitWaiting(t *testing.T, db *sqlx.DB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for waiting := 0; waiting < n; { // PostgreSQL has no signal for it
		if err := db.GetContext(ctx, &waiting, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`); err != nil {
			t.Fatal(err)
		}
	}
}
