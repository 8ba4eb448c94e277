package postgres

import (
	"context"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const (
	// Locking is a statement of its own: the next one then sees every delivery
	// that was admitted before the lock was ours.
	lockLanesInOrder = `SELECT FROM lanes WHERE webhook_id = ANY ($1::uuid[]) ORDER BY webhook_id FOR UPDATE`
	// closeLanes takes back the slots of deliveries that nobody is sending. It
	// locks them in the order in which a claim does, or each could come to wait
	// for the other.
	closeLanes = `
WITH unsent AS MATERIALIZED (
	SELECT delivery_id FROM pending_deliveries
	WHERE delivery_id = ANY (ARRAY(
		SELECT p.delivery_id FROM lanes l CROSS JOIN LATERAL (` + admittedOf + `) p WHERE l.webhook_id = ANY ($1::uuid[])
	)) AND admitted AND kind = 'event' AND (lease_until IS NULL OR lease_until < now())
	ORDER BY delivery_id FOR UPDATE
), back AS (
	UPDATE pending_deliveries SET admitted = false, lease_until = NULL, lease_holder = NULL
	WHERE delivery_id = ANY (ARRAY(SELECT delivery_id FROM unsent))
	RETURNING webhook_id
)
UPDATE lanes l SET open = false, deleted = l.deleted OR $2,
	admitted = l.admitted - (SELECT count(*) FROM back WHERE back.webhook_id = l.webhook_id),
	queued = l.queued + (SELECT count(*) FROM back WHERE back.webhook_id = l.webhook_id)
WHERE l.webhook_id = ANY ($1::uuid[])`
)

const (
	// admittedOf is the admitted event deliveries of a lane l: they are the first of
	// its rows, or nearly, and the last of them ends the search. Changes of rows and
	// counts are committed together, so that one statement sees as many as it expects.
	admittedOf = `
	SELECT * FROM pending_deliveries WHERE webhook_id = l.webhook_id AND admitted AND kind = 'event'
	ORDER BY due_at, delivery_id LIMIT greatest(l.admitted, 0)`
	// inOrder is for transactions that look for a lane's first rows: a bitmap would
	// hold all of them, and a backlog may be new to the planner.
	inOrder = `SET LOCAL enable_bitmapscan = off`
	// notQuiet is what admission asks of a lane l beside room.
	notQuiet = `(l.quiet_until > now()) IS NOT TRUE`
	// mostOf bounds the window of a lane l. Of one that only fails, two at a time find
	// out whether its receiver is back, without taking from others what ten would; the
	// first success opens the whole window. One whose receiver has asked for silence
	// begins with one at a time, and has one more after every ten successes: whatever
	// it takes between two silences, it refuses no more than about a tenth of that.
	mostOf = `least(CASE WHEN l.failures >= 20 THEN 2 END, 1 + l.eased / 10, 1000000)`
	// admitsNew is whether a lane l admits new deliveries as far as it has free slots.
	// Where others have been due for longer, and somebody is at work, he goes on with
	// those and comes to the new ones. A retry, whose timer may ring up to two seconds
	// late, keeps nobody back. OFFSET 0 has each lane looked at for itself: otherwise
	// a plan made while little was pending hashes the backlog of all tenants.
	admitsNew = `l.open AND ` + notQuiet + ` AND (l.admitted <= 0 OR l.queued <= 0 OR NOT EXISTS (
	SELECT FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND NOT p.admitted AND p.due_at < now() - interval '2 seconds' OFFSET 0))`
	// mayBeSent is what a claim asks of an admitted row of pending_deliveries: its
	// lane may have been closed, or have become quiet, while somebody had it leased
	// or was on his way to it. It stays admitted then, and is rung for when that is
	// over. A test send goes out until its webhook is deleted, once at most, and only
	// while somebody may wait for it: the relay ends the others.
	mayBeSent = `NOT EXISTS (
	SELECT FROM lanes l WHERE l.webhook_id = pending_deliveries.webhook_id
		AND (NOT l.open OR l.quiet_until > now()) AND (pending_deliveries.kind = 'event' OR l.deleted) OFFSET 0)
	AND CASE WHEN kind = 'test' THEN lease_until IS NULL AND due_at > now() - interval '5 seconds'
		- (SELECT timeout_ms FROM webhooks w WHERE w.id = pending_deliveries.webhook_id) * interval '1 millisecond' ELSE true END`
)

// closeLanesTx holds the deliveries of webhooks from now on: paused, disabled
// or deleted. The caller has locked the webhooks' rows.
func closeLanesTx(ctx context.Context, tx *sqlx.Tx, hooks []string, deleted bool) error {
	if _, err := tx.ExecContext(ctx, lockLanesInOrder, pq.Array(hooks)); err != nil {
		return dbError("locking lanes", err)
	}
	if _, err := tx.ExecContext(ctx, inOrder); err != nil {
		return dbError("setting the planner", err)
	}
	_, err := tx.ExecContext(ctx, closeLanes, pq.Array(hooks), deleted)
	return dbError("closing lanes", err)
}
