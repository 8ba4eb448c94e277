package postgres

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// retryLane locks the lane of a live webhook and says how it would treat one
// delivery more ($3 is the window).
const retryLane = `
SELECT ` + admitsNew + ` AND l.admitted < least($3, ` + mostOf + `) AS admitted
FROM lanes l WHERE l.tenant_id = $1 AND l.webhook_id = $2 AND NOT l.deleted FOR UPDATE`

// retryDelivery takes a failed delivery back to pending by compare-and-set on
// its status (I4), and owes it again: attempts go on counting, with the webhook's
// present limit as a fresh budget. $3 is whether it is admitted.
const retryDelivery = `
WITH d AS (
	UPDATE deliveries d SET status = 'pending', failure_reason = NULL, completed_at = NULL, next_attempt_at = now(),
		max_attempts = d.attempt_count + w.max_attempts
	FROM webhooks w
	WHERE d.tenant_id = $1 AND d.id = $2 AND d.status = 'failed' AND w.tenant_id = $1 AND w.id = d.webhook_id
		AND EXISTS (SELECT FROM events e WHERE e.tenant_id = $1 AND e.id = d.event_id)
	RETURNING ` + deliveryColumns + `
), pending AS (
	INSERT INTO pending_deliveries (delivery_id, webhook_id, tenant_id, event_id, event_type, attempts, budget, admitted)
	SELECT id, webhook_id, tenant_id, event_id, event_type, attempt_count, max_attempts, $3 FROM d
), counted AS (
	UPDATE lanes l SET admitted = l.admitted + $3::boolean::integer, queued = l.queued + 1 - $3::boolean::integer
	FROM d WHERE l.webhook_id = d.webhook_id
)
SELECT ` + deliveryColumns + ` FROM d`

// Retry gives a failed delivery a fresh budget, due now, and returns it. When
// its webhook's window has room, owed is what may be rung for; else it waits for
// its turn, or for its webhook to be resumed, and owed is nil.
//
// A delivery that has not failed, a test send, and one whose webhook or event is
// gone are Conflict errors. Of two retries at once, one wins.
func (s *Deliveries) Retry(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (d webhook.Delivery, owed *webhook.Owed, err error) {
	err = inTx(ctx, s.db, func(tx *sqlx.Tx) error {
		d, err = getDelivery(ctx, tx, selectDelivery, tenant, id)
		if err != nil {
			return err
		}
		if fault := retryable(d); fault != nil {
			return fault
		}
		var admitted bool
		err := tx.GetContext(ctx, &admitted, retryLane, tenant, d.WebhookID.UUID(), s.window)
		if errors.Is(err, sql.ErrNoRows) {
			return webhook.Conflict("id", "names a delivery whose webhook was deleted")
		}
		if err != nil {
			return dbError("locking a lane", err)
		}
		if d, err = s.retry(ctx, tx, d, admitted); err != nil || !admitted {
			return err
		}
		owed = &webhook.Owed{
			Delivery: d.ID, Webhook: d.WebhookID, Tenant: d.Tenant,
			EventType: d.EventType.String(), Kind: d.Kind, Attempt: d.AttemptCount + 1,
		}
		return nil
	})
	if err != nil {
		return webhook.Delivery{}, nil, err
	}
	return d, owed, nil
}

// retryable looks before anything is locked; the statement looks again.
func retryable(d webhook.Delivery) error {
	switch {
	case d.Kind == webhook.KindTest:
		return webhook.Conflict("id", "names a test send; send another test instead")
	case !d.Status.CanBecome(webhook.Pending):
		return notFailed()
	}
	return nil
}

func notFailed() error {
	return webhook.Conflict("id", "names a delivery that has not failed; only a FAILED one can be retried")
}

func (s *Deliveries) retry(ctx context.Context, tx *sqlx.Tx, d webhook.Delivery, admitted bool) (webhook.Delivery, error) {
	after, err := getDelivery(ctx, tx, retryDelivery, d.Tenant, d.ID, admitted)
	if !errors.Is(err, webhook.ErrNotFound) {
		return after, err
	}
	// Nothing matched: say which condition did not hold.
	now, err := getDelivery(ctx, tx, selectDelivery, d.Tenant, d.ID)
	if err != nil {
		return webhook.Delivery{}, err
	}
	if now.Status != webhook.Failed {
		return webhook.Delivery{}, notFailed()
	}
	return webhook.Delivery{}, webhook.Conflict("id", "names a delivery whose event is no longer kept")
}
