package postgres

import (
	"context"
	"errors"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// A connection that ends before the first byte of an answer is, to the driver, one
// that never worked, and database/sql executes the statement again by another one.
// If the first execution was committed, its rows are in the second one's way: ids
// of events are drawn right before they are stored, so whoever has them already is
// this very acceptance. What it owes is then read back.

// selectStored returns what acceptEvents would have returned, less the deliveries
// that somebody else has rung for and begun meanwhile. Parameters: ids, tenants.
const selectStored = `
SELECT s.n, count(d.id) AS deliveries,
	array_agg(p.delivery_id) FILTER (WHERE p.admitted) AS admitted, array_agg(p.webhook_id) FILTER (WHERE p.admitted) AS webhooks
FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS s (id, tenant_id, n)
JOIN events e ON e.id = s.id AND e.tenant_id = s.tenant_id
LEFT JOIN deliveries d ON d.event_id = e.id AND d.tenant_id = e.tenant_id
LEFT JOIN pending_deliveries p ON p.delivery_id = d.id AND p.lease_until IS NULL AND p.attempts = 0
GROUP BY s.n ORDER BY s.n`

// acceptedBefore completes the receipts of fresh if all of it is stored, which is
// what taken, the error of storing it, suggests. If not, it returns taken.
func (s *Events) acceptedBefore(ctx context.Context, fresh []submitted, receipts []webhook.Receipt, taken error) ([]webhook.Owed, error) {
	ids, tenants := make([]string, len(fresh)), make([]string, len(fresh))
	for i, e := range fresh {
		ids[i], tenants[i] = e.Event.ID.UUID(), string(e.Event.Tenant)
	}
	var rows []owedRow
	if err := s.db.SelectContext(ctx, &rows, selectStored, pq.Array(ids), pq.Array(tenants)); err != nil {
		return nil, dbError("reading back what was stored", err)
	}
	if len(rows) < len(fresh) {
		return nil, taken
	}
	return receive(rows, fresh, receipts)
}

// isTaken reports whether what was to be inserted is there already.
func isTaken(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && pqErr.Code == "23505"
}
