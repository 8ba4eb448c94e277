package postgres

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Lanes are recounted now and then. A difference is a fault of ours: without
// mending, a lost slot would slow a webhook for ever.
//
// Whoever changes rows changes their lane's counts in the same transaction, so
// one statement sees both as of one instant: a difference is true whatever goes
// on meanwhile, nothing has to be locked to find it, and adding it mends the
// lane whatever happened since.
//
// Every question is asked as one of the partial indexes answers it. Only event
// deliveries are ever not admitted.
const (
	// suspectLanes goes through $2 lanes after $1. It counts no further than $3
	// in a queue: what matters of a long one is that it is not empty, and it will
	// be short one day.
	suspectLanes = `
SELECT l.webhook_id, l.admitted <> a.n OR CASE WHEN q.n > $3 THEN l.queued < q.n ELSE l.queued <> q.n END AS suspect
FROM (
	SELECT webhook_id, admitted, queued FROM lanes WHERE webhook_id > $1 AND NOT deleted ORDER BY webhook_id LIMIT $2
) l, LATERAL (
	SELECT count(*) AS n FROM pending_deliveries p
	WHERE p.webhook_id = l.webhook_id AND p.admitted AND p.kind = 'event'
) a, LATERAL (
	SELECT count(*) AS n FROM (
		SELECT FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND NOT p.admitted
		ORDER BY p.due_at, p.delivery_id LIMIT $3 + 1
	) few
) q
ORDER BY l.webhook_id`

	// lockMending keeps two from adding the same difference.
	lockMending = `SELECT pg_advisory_xact_lock(7238915348)`

	driftOfLane = `
SELECT (SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND p.admitted AND p.kind = 'event')
		- l.admitted AS admitted,
	(SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND NOT p.admitted) - l.queued AS queued
FROM lanes l WHERE l.webhook_id = $1 AND NOT l.deleted`

	mendLane = `UPDATE lanes SET admitted = admitted + $2, queued = queued + $3 WHERE webhook_id = $1`
)

// auditDepth is how far the queue of a lane that may be right is counted.
const auditDepth = 100

// MendLanes recounts the next limit lanes after the given one and returns how
// many had wrong counts, and where to go on: at a zero id, from the start.
func (r *Relay) MendLanes(ctx context.Context, after webhook.WebhookID, limit int) (next webhook.WebhookID, mended int, err error) {
	var lanes []struct {
		WebhookID string `db:"webhook_id"`
		Suspect   bool   `db:"suspect"`
	}
	if err := r.db.SelectContext(ctx, &lanes, suspectLanes, after.UUID(), limit, auditDepth); err != nil {
		return after, 0, dbError("auditing lanes", err)
	}
	for _, lane := range lanes {
		if !lane.Suspect {
			continue
		}
		wrong, err := r.mendLane(ctx, lane.WebhookID)
		if err != nil {
			return after, mended, err
		}
		if wrong {
			mended++
		}
	}
	if len(lanes) < limit {
		return webhook.WebhookID{}, mended, nil
	}
	next, err = webhook.WebhookIDFromUUID(lanes[len(lanes)-1].WebhookID)
	return next, mended, err
}

func (r *Relay) mendLane(ctx context.Context, hook string) (wrong bool, err error) {
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, lockMending); err != nil {
			return dbError("queueing to mend a lane", err)
		}
		var drift struct {
			Admitted int64 `db:"admitted"`
			Queued   int64 `db:"queued"`
		}
		if err := tx.GetContext(ctx, &drift, driftOfLane, hook); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return nil // its webhook was deleted meanwhile
			}
			return dbError("counting a lane", err)
		}
		wrong = drift.Admitted != 0 || drift.Queued != 0
		if !wrong {
			return nil
		}
		_, err := tx.ExecContext(ctx, mendLane, hook, drift.Admitted, drift.Queued)
		return dbError("mending a lane", err)
	})
	return wrong && err == nil, err
}
