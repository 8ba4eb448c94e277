package postgres

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// pruneBatch is how many rows one statement of the pruner removes at most, so
// that nobody waits long for it.
const pruneBatch = 10_000

// What is still owed for old deliveries is forgotten lane by lane, each under
// its lock, so that the counts stay right. A row that somebody holds at this
// moment is left for the next time.
const (
	lanesWithOld = `
SELECT DISTINCT webhook_id FROM pending_deliveries WHERE delivery_id < uuid_floor($1::timestamptz) ORDER BY webhook_id`
	lockOneLane  = `SELECT FROM lanes WHERE webhook_id = $1 FOR UPDATE`
	forgetOfLane = `
WITH gone AS (
	DELETE FROM pending_deliveries WHERE delivery_id = ANY (ARRAY(
		SELECT delivery_id FROM pending_deliveries
		WHERE webhook_id = $1 AND delivery_id < uuid_floor($2::timestamptz) LIMIT $3 FOR UPDATE SKIP LOCKED))
	RETURNING kind, admitted
), counted AS (
	UPDATE lanes SET admitted = lanes.admitted - g.admitted, queued = lanes.queued - g.queued
	FROM (SELECT count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS queued
		FROM gone WHERE kind = 'event') g
	WHERE lanes.webhook_id = $1
)
SELECT count(*) FROM gone`
)

// forget drops the work on deliveries older than end. It takes the lock of one
// lane at a time, and none of a table: accepting holds its tables' locks while
// it waits for lanes.
func (p *Pruner) forget(ctx context.Context, end time.Time) error {
	var hooks []string
	if err := p.db.SelectContext(ctx, &hooks, lanesWithOld, end); err != nil {
		return dbError("finding work on old deliveries", err)
	}
	for _, hook := range hooks {
		for more := true; more; {
			var err error
			if more, err = p.forgetSome(ctx, hook, end); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetSome forgets a batch of a lane and reports whether there may be more.
func (p *Pruner) forgetSome(ctx context.Context, hook string, end time.Time) (more bool, err error) {
	err = inTx(ctx, p.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, boundedLock); err != nil {
			return dbError("bounding the lock", err)
		}
		if _, err := tx.ExecContext(ctx, lockOneLane, hook); err != nil {
			return dbError("locking a lane", err)
		}
		var n int
		if err := tx.GetContext(ctx, &n, forgetOfLane, hook, end, pruneBatch); err != nil {
			return dbError("forgetting old deliveries", err)
		}
		more = n == pruneBatch
		return nil
	})
	return more && err == nil, err
}
