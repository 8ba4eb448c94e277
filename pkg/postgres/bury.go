package postgres

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// deletedLanes begins after $1 and goes round.
	deletedLanes = `
SELECT webhook_id FROM lanes WHERE deleted ORDER BY webhook_id <= $1, webhook_id LIMIT $2`

	lockDeletedLane = `SELECT webhook_id FROM lanes WHERE webhook_id = $1 AND deleted FOR UPDATE SKIP LOCKED`

	// Ordered as the index is: a bitmap would hold the whole backlog, whatever the
	// limit.
	buryDeliveries = `
WITH gone AS (
	DELETE FROM pending_deliveries WHERE delivery_id = ANY (
		ARRAY(SELECT delivery_id FROM pending_deliveries
			WHERE webhook_id = $1 AND (lease_until IS NULL OR lease_until < now())
			ORDER BY due_at, delivery_id LIMIT $2 FOR UPDATE SKIP LOCKED))
	RETURNING delivery_id
)
UPDATE deliveries d SET status = 'failed', failure_reason = 'webhook_deleted', next_attempt_at = NULL, completed_at = now()
FROM gone
-- Naming the webhook makes every index that may be chosen a good one.
WHERE d.webhook_id = $1 AND d.id = gone.delivery_id`

	dropEmptyLane = `
DELETE FROM lanes WHERE webhook_id = $1
	AND NOT EXISTS (SELECT FROM pending_deliveries WHERE webhook_id = $1)`
)

// Deleted returns at most limit deleted webhooks to call Bury for, beginning
// with those after the given one: each has its turn, however many there are.
func (r *Relay) Deleted(ctx context.Context, after webhook.WebhookID, limit int) ([]webhook.WebhookID, error) {
	var rows []string
	if err := r.db.SelectContext(ctx, &rows, deletedLanes, after.UUID(), limit); err != nil {
		return nil, dbError("finding deleted lanes", err)
	}
	return webhookIDs(rows)
}

// Bury finishes what a deleted webhook still owes, about limit deliveries at a
// time, and reports whether to go on. What somebody else holds, its lane or a
// leased delivery, is left for another time; a lane that owes nothing more goes
// away.
func (r *Relay) Bury(ctx context.Context, hook webhook.WebhookID, limit int) (more bool, err error) {
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, boundedLock); err != nil {
			return dbError("bounding the lock", err)
		}
		if _, err := tx.ExecContext(ctx, inOrder); err != nil {
			return dbError("setting the planner", err)
		}
		var locked string
		if err := tx.GetContext(ctx, &locked, lockDeletedLane, hook.UUID()); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			return dbError("locking a deleted lane", err)
		}
		res, err := tx.ExecContext(ctx, buryDeliveries, hook.UUID(), limit)
		if err != nil {
			return dbError("finishing the deliveries of a deleted webhook", err)
		}
		n, err := res.RowsAffected()
		if err != nil {
			return dbError("finishing the deliveries of a deleted webhook", err)
		}
		more = n >= int64(limit)
		_, err = tx.ExecContext(ctx, dropEmptyLane, hook.UUID())
		return dbError("dropping a deleted lane", err)
	})
	return more && err == nil, err
}
