package postgres

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Relay finds what is due and has nobody coming for it (I2).
type Relay struct {
	db    *sqlx.DB
	stmts *prepared
}

// NewRelay makes the repairing store; any pool will do.
func NewRelay(db *sqlx.DB) *Relay { return &Relay{db: db, stmts: newPrepared(db)} }

// ringUnclaimed lists admitted deliveries that no live lease holds and that
// nobody claimed within a grace that doubles with each ring, up to 32 times.
// Of those whose lease has ended nobody can be on the way: they only leave who is
// late the time to record. Nobody may come for those of a closed or quiet lane;
// when it is so no more, their bells are long gone.
const ringUnclaimed = `
WITH late AS (
	SELECT delivery_id FROM (
		SELECT p.* FROM lanes l CROSS JOIN LATERAL (` + admittedOf + `) p WHERE l.admitted > 0 AND l.open AND ` + notQuiet + `
		UNION ALL
		SELECT * FROM pending_deliveries WHERE kind = 'test'
	) p
	WHERE ` + unclaimed + ` ORDER BY rung_at LIMIT $2
)
UPDATE pending_deliveries SET rung_at = now(), rings = least(rings + 1, 1000)
WHERE delivery_id IN (
	SELECT delivery_id FROM pending_deliveries
	WHERE delivery_id = ANY (ARRAY(SELECT delivery_id FROM late)) AND admitted AND ` + unclaimed + ` AND ` + mayBeSent + `
	FOR UPDATE SKIP LOCKED
)
RETURNING delivery_id, webhook_id, tenant_id, event_type, kind, attempts`

const unclaimed = `(lease_until IS NULL OR ` + leaseOver + `) AND greatest(
		rung_at + CASE WHEN $3 THEN 2 ^ least(rings, 5) ELSE 1 END * $1 * interval '1 second',
		lease_until + interval '0.5 second') < now()`

type owedOnlyRow struct {
	DeliveryID string `db:"delivery_id"`
	WebhookID  string `db:"webhook_id"`
	TenantID   string `db:"tenant_id"`
	EventType  string `db:"event_type"`
	Kind       string `db:"kind"`
	Attempts   int    `db:"attempts"`
}

// Unclaimed returns at most limit deliveries to ring for again, less those
// that somebody is claiming. Patiently, the grace doubles with each ring of a delivery.
func (r *Relay) Unclaimed(ctx context.Context, grace time.Duration, patiently bool, limit int) ([]webhook.Owed, error) {
	var rows []owedOnlyRow
	err := inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, inOrder); err != nil {
			return dbError("setting the planner", err)
		}
		return dbError("finding unclaimed deliveries",
			tx.SelectContext(ctx, &rows, ringUnclaimed, grace.Seconds(), limit, patiently))
	})
	if err != nil {
		return nil, err
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
// gone on with it, is gone. Nobody else looks at what a quiet lane held back, so
// there is no grace soon after.
const lanesWithRoom = `
SELECT l.webhook_id FROM lanes l
WHERE l.open AND l.queued > 0 AND l.admitted < least($1, ` + mostOf + `) AND ` + notQuiet + ` AND EXISTS (
	SELECT FROM pending_deliveries p
	WHERE p.webhook_id = l.webhook_id AND NOT p.admitted
		AND p.due_at <= now() - CASE WHEN l.quiet_until > now() - interval '1 minute' THEN 0 ELSE $2 END * interval '1 second'
	OFFSET 0) -- lane by lane, whatever the planner believes to be pending
	AND l.webhook_id > $3
ORDER BY l.webhook_id LIMIT $4`

// WithRoom returns at most limit webhooks to call Work.Admit for, in the order of
// their ids, from the one behind after on.
func (r *Relay) WithRoom(ctx context.Context, window int, grace time.Duration, after webhook.WebhookID, limit int) ([]webhook.WebhookID, error) {
	var rows []string
	if err := r.db.SelectContext(ctx, &rows, lanesWithRoom, window, grace.Seconds(), after.UUID(), limit); err != nil {
		return nil, dbError("finding lanes with room", err)
	}
	return webhookIDs(rows)
}

func webhookIDs(rows []string) ([]webhook.WebhookID, error) {
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
