package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// TestSends asks for single requests that somebody waits for. They have one
// attempt, take no slot of their webhook's window, and go out when it is paused. No
// request is made twice, nor when its time to wait is over.
type TestSends struct{ db *sqlx.DB }

// NewTestSends makes a store; any pool will do.
func NewTestSends(db *sqlx.DB) *TestSends { return &TestSends{db: db} }

// insertTest stores an event that only one webhook gets. Locking the webhook's
// row keeps it from being deleted meanwhile; FOR KEY SHARE waits for nobody else.
const insertTest = `
WITH w AS (
	SELECT id, timeout_ms FROM webhooks WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL FOR KEY SHARE
), event AS (
	INSERT INTO events (id, tenant_id, type, body, traceparent) SELECT $3::uuid, $1, $5, $6, $7 FROM w
), d AS (
	INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, event_type, kind, max_attempts, next_attempt_at)
	SELECT $4::uuid, $1, w.id, $3::uuid, $5, 'test', 1, now() FROM w
), pending AS (
	INSERT INTO pending_deliveries (delivery_id, webhook_id, tenant_id, event_id, event_type, kind, budget, admitted)
	SELECT $4::uuid, w.id, $1, $3::uuid, $5, 'test', 1, true FROM w
)
SELECT timeout_ms FROM w`

// Ask stores an event that is owed to one webhook only, whatever its status.
// It returns the delivery to ring for and the webhook's timeout, or NotFound.
func (s *TestSends) Ask(ctx context.Context, hook webhook.WebhookID, e webhook.Event) (webhook.Owed, time.Duration, error) {
	id := webhook.DeliveryIDFor(e.ID, hook)
	var timeoutMs int64
	err := s.db.GetContext(ctx, &timeoutMs, insertTest, e.Tenant, hook.UUID(),
		e.ID.UUID(), id.UUID(), e.Type.String(), e.Body, e.TraceParent)
	if errors.Is(err, sql.ErrNoRows) {
		return webhook.Owed{}, 0, webhook.NotFound("webhook")
	}
	if err != nil {
		return webhook.Owed{}, 0, dbError("storing a test send", err)
	}
	owed := webhook.Owed{
		Delivery: id, Webhook: hook, Tenant: e.Tenant, EventType: e.Type.String(), Kind: webhook.KindTest, Attempt: 1,
	}
	return owed, time.Duration(timeoutMs) * time.Millisecond, nil
}

// cancelTest calls a test send off unless a worker is sending it.
const cancelTest = `
WITH gone AS (
	DELETE FROM pending_deliveries
	WHERE tenant_id = $1 AND delivery_id = $2 AND kind = 'test' AND (lease_until IS NULL OR lease_until < now())
	RETURNING delivery_id
)
UPDATE deliveries d SET status = 'failed', failure_reason = 'canceled', next_attempt_at = NULL, completed_at = now()
FROM gone
WHERE d.tenant_id = $1 AND d.id = $2 AND d.id = gone.delivery_id AND d.status = 'pending'`

// Cancel finishes a test send as canceled, so that no worker sends it any more,
// and reports whether it did: not one that is finished, nor one under way.
func (s *TestSends) Cancel(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (bool, error) {
	res, err := s.db.ExecContext(ctx, cancelTest, tenant, id.UUID())
	if err != nil {
		return false, dbError("canceling a test send", err)
	}
	n, err := res.RowsAffected()
	return n == 1, dbError("canceling a test send", err)
}

// endTests finishes test sends that a claim leaves alone, since 5 s: who is late
// may still record how they went.
const endTests = `
WITH over AS MATERIALIZED (
	SELECT p.delivery_id, p.lease_until IS NOT NULL AS begun
	FROM pending_deliveries p JOIN webhooks w ON w.id = p.webhook_id
	WHERE p.kind = 'test' AND (lease_until IS NULL OR ` + leaseOver + `)
		AND coalesce(p.lease_until, p.due_at + w.timeout_ms * interval '1 millisecond') < now() - interval '5 seconds'
	ORDER BY p.delivery_id LIMIT $1 FOR UPDATE OF p SKIP LOCKED
), gone AS (
	DELETE FROM pending_deliveries WHERE delivery_id = ANY (ARRAY(SELECT delivery_id FROM over)) RETURNING delivery_id, webhook_id
)
UPDATE deliveries d SET status = 'failed', failure_reason = 'canceled', next_attempt_at = NULL, completed_at = now(),
	last_error = CASE WHEN over.begun THEN 'the worker that had this test stopped before it could record how it went; the request may have been made'
		ELSE 'no worker took this test in time' END
FROM gone JOIN over ON over.delivery_id = gone.delivery_id
WHERE d.webhook_id = gone.webhook_id AND d.id = gone.delivery_id`

// EndTests finishes as canceled, limit at a time, test sends whose worker died, and
// those that nobody took while somebody waited for them. Neither is sent any more.
func (r *Relay) EndTests(ctx context.Context, limit int) error {
	_, err := r.db.ExecContext(ctx, endTests, limit)
	return dbError("ending test sends", err)
}
