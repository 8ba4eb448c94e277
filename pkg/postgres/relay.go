package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Relay finds what is due and has nobody coming for it (I2).
type Relay struct{ db *sqlx.DB }

// NewRelay makes the repairing store; any pool will do.
func NewRelay(db *sqlx.DB) *Relay { return &Relay{db: db} }

// ringUnclaimed lists admitted deliveries that no live lease holds and that
// nobody claimed within a grace that doubles with each ring, up to 32 times.
// An ended lease counts from its end.
const ringUnclaimed = `
UPDATE pending_deliveries SET rung_at = now(), rings = least(rings + 1, 1000)
WHERE delivery_id IN (
	SELECT delivery_id FROM pending_deliveries
	WHERE admitted AND (lease_until IS NULL OR lease_until < now())
		AND greatest(rung_at, lease_until) < now() - CASE WHEN $3 THEN 2 ^ least(rings, 5) ELSE 1 END * $1 * interval '1 second'
	ORDER BY rung_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
RETURNING delivery_id, webhook_id, tenant_id, event_type, kind, attempts`

type owedOnlyRow struct {
	DeliveryID string `db:"delivery_id"`
	WebhookID  string `db:"webhook_id"`
	TenantID   string `db:"tenant_id"`
	EventType  string `db:"event_type"`
	Kind       string `db:"kind"`
	Attempts   int    `db:"attempts"`
}

// Unclaimed returns at most limit deliveries to ring for again. Patiently, the
// grace doubles with each ring of a delivery.
func (r *Relay) Unclaimed(ctx context.Context, grace time.Duration, patiently bool, limit int) ([]webhook.Owed, error) {
	var rows []owedOnlyRow
	if err := r.db.SelectContext(ctx, &rows, ringUnclaimed, grace.Seconds(), limit, patiently); err != nil {
		return nil, dbError("finding unclaimed deliveries", err)
	}
	owed := make([]webhook.Owed, len(rows))
	for i, row := range rows {
		o, err := claimRow{
			DeliveryID: row.DeliveryID, WebhookID: row.WebhookID, TenantID: row.TenantID,
			EventType: row.EventType, Kind: row.Kind, Attempts: row.Attempts,
		}.owed()
		if err != nil {
			return nil, err
		}
		owed[i] = o
	}
	return owed, nil
}

// lanesWithRoom lists open lanes with free slots and a delivery that has been
// due for the grace time: its timer in Redis, or the worker that would have
// gone on with it, is gone.
const lanesWithRoom = `
SELECT l.webhook_id FROM lanes l
WHERE l.open AND l.queued > 0 AND l.admitted < $1 AND EXISTS (
	SELECT FROM pending_deliveries p
	WHERE p.webhook_id = l.webhook_id AND NOT p.admitted AND p.due_at <= now() - $2 * interval '1 second')
LIMIT $3`

// WithRoom returns at most limit webhooks to call Work.Admit for.
func (r *Relay) WithRoom(ctx context.Context, window int, grace time.Duration, limit int) ([]webhook.WebhookID, error) {
	var rows []string
	if err := r.db.SelectContext(ctx, &rows, lanesWithRoom, window, grace.Seconds(), limit); err != nil {
		return nil, dbError("finding lanes with room", err)
	}
	hooks := make([]webhook.WebhookID, len(rows))
	for i, row := range rows {
		id, err := webhook.WebhookIDFromUUID(row)
		if err != nil {
			return nil, err
		}
		hooks[i] = id
	}
	return hooks, nil
}

// buryDeleted finishes what deleted webhooks still owed, a bounded number at a
// time; a leased delivery is left to its worker. A lane that owes nothing more
// goes away.
const (
	lockDeletedLane = `SELECT webhook_id FROM lanes WHERE deleted ORDER BY webhook_id LIMIT 1 FOR UPDATE SKIP LOCKED`
	buryDeliveries  = `
WITH gone AS (
	-- Two questions, because each has an index and both together have none.
	DELETE FROM pending_deliveries WHERE delivery_id = ANY (
		ARRAY(SELECT delivery_id FROM pending_deliveries
			WHERE webhook_id = $1 AND NOT admitted LIMIT $2 FOR UPDATE SKIP LOCKED)
		|| ARRAY(SELECT delivery_id FROM pending_deliveries
			WHERE webhook_id = $1 AND admitted AND (lease_until IS NULL OR lease_until < now()) LIMIT $2 FOR UPDATE SKIP LOCKED))
	RETURNING delivery_id
)
UPDATE deliveries d SET status = 'failed', failure_reason = 'webhook_deleted', next_attempt_at = NULL, completed_at = now()
FROM gone WHERE d.id = gone.delivery_id`
	dropEmptyLane = `
DELETE FROM lanes WHERE webhook_id = $1
	AND NOT EXISTS (SELECT FROM pending_deliveries WHERE webhook_id = $1 AND admitted)
	AND NOT EXISTS (SELECT FROM pending_deliveries WHERE webhook_id = $1 AND NOT admitted)`
)

// BuryDeleted works on one deleted webhook and reports whether it found any.
func (r *Relay) BuryDeleted(ctx context.Context, limit int) (more bool, err error) {
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		var hook string
		if err := tx.GetContext(ctx, &hook, lockDeletedLane); err != nil {
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			return dbError("locking a deleted lane", err)
		}
		res, err := tx.ExecContext(ctx, buryDeliveries, hook, limit)
		if err != nil {
			return dbError("finishing the deliveries of a deleted webhook", err)
		}
		if n, _ := res.RowsAffected(); n > 0 {
			more = true
		}
		_, err = tx.ExecContext(ctx, dropEmptyLane, hook)
		return dbError("dropping a deleted lane", err)
	})
	return more, err
}

// mendLanes recounts lanes under their lock. A difference is a fault of ours:
// without mending, a lost slot would slow a webhook for ever.
const (
	lockLane  = `SELECT admitted, queued FROM lanes WHERE webhook_id = $1 FOR UPDATE`
	countLane = `
SELECT count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS queued
FROM pending_deliveries WHERE webhook_id = $1 AND kind = 'event'`
	setLane      = `UPDATE lanes SET admitted = $2, queued = $3 WHERE webhook_id = $1`
	suspectLanes = `
SELECT l.webhook_id FROM lanes l
LEFT JOIN (
	SELECT webhook_id, count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS queued
	FROM pending_deliveries WHERE kind = 'event' GROUP BY webhook_id
) p ON p.webhook_id = l.webhook_id
WHERE NOT l.deleted AND (l.admitted <> coalesce(p.admitted, 0) OR l.queued <> coalesce(p.queued, 0))`
)

type laneCount struct {
	Admitted int `db:"admitted"`
	Queued   int `db:"queued"`
}

// MendLanes returns how many lanes had wrong counts.
func (r *Relay) MendLanes(ctx context.Context) (mended int, err error) {
	var suspects []string
	if err := r.db.SelectContext(ctx, &suspects, suspectLanes); err != nil {
		return 0, dbError("auditing lanes", err)
	}
	for _, hook := range suspects {
		err := inTx(ctx, r.db, func(tx *sqlx.Tx) error {
			var stored, counted laneCount
			if err := tx.GetContext(ctx, &stored, lockLane, hook); err != nil {
				return dbError("locking a lane", err)
			}
			if err := tx.GetContext(ctx, &counted, countLane, hook); err != nil {
				return dbError("counting a lane", err)
			}
			if stored == counted {
				return nil // it only looked wrong while somebody changed it
			}
			mended++
			_, err := tx.ExecContext(ctx, setLane, hook, counted.Admitted, counted.Queued)
			return dbError("mending a lane", err)
		})
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return mended, err
		}
	}
	return mended, nil
}
