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
// Only event deliveries count.
const (
	// suspectLanes goes through $2 lanes after $1. It looks at no more than $3 rows of
	// each beyond those admitted, which are the first, or nearly: where they are not,
	// a lane is suspected that is right. What matters of a long queue is that it is
	// not empty, and it will be short one day.
	suspectLanes = `
SELECT l.webhook_id, l.admitted <> few.admitted
	OR CASE WHEN few.admitted + few.queued < l.admitted + $3 THEN l.queued <> few.queued ELSE l.queued < few.queued END AS suspect
FROM (
	SELECT webhook_id, admitted, queued FROM lanes WHERE webhook_id > $1 AND NOT deleted ORDER BY webhook_id LIMIT $2
) l, LATERAL (
	SELECT count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS queued
	FROM (
		SELECT p.admitted FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND p.kind = 'event'
		ORDER BY p.due_at, p.delivery_id LIMIT greatest(l.admitted + $3, 1)
	) first
) few
ORDER BY l.webhook_id`

	// lockMending keeps two from adding the same difference.
	lockMending = `SELECT pg_advisory_xact_lock(7238915348)`

	driftOfLane = `
SELECT p.admitted - l.admitted AS admitted, p.queued - l.queued AS queued
FROM lanes l, LATERAL (
	SELECT count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS queued
	FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND p.kind = 'event'
) p
WHERE l.webhook_id = $1 AND NOT l.deleted`

	mendLane = `UPDATE lanes SET admitted = admitted + $2, queued = queued + $3 WHERE webhook_id = $1`
)

// auditDepth is how many rows of a lane that may be right are looked at, beside
// those admitted.
const auditDepth = 100

// MendLanes recounts the next limit lanes after the given one and returns how
// many had wrong counts, and where to go on: at a zero id, from the start.
func (r *Relay) MendLanes(ctx context.Context, after webhook.WebhookID, limit int) (next webhook.WebhookID, mended int, err error) {
	var lanes []struct {
		WebhookID string `db:"webhook_id"`
		Suspect   bool   `db:"suspect"`
	}
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, inOrder); err != nil {
			return dbError("setting the planner", err)
		}
		return dbError("auditing lanes", tx.SelectContext(ctx, &lanes, suspectLanes, after.UUID(), limit, auditDepth))
	})
	if err != nil {
		return after, 0, err
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
