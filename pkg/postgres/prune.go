package postgres

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Pruner makes partitions ahead of time and drops what is too old to keep.
type Pruner struct{ db *sqlx.DB }

// NewPruner makes the housekeeping store; any pool will do.
func NewPruner(db *sqlx.DB) *Pruner { return &Pruner{db: db} }

const (
	// Making and dropping partitions locks their parents for a moment. Whoever
	// cannot get that lock soon gives up and tries again next time, instead of
	// making every other statement queue behind.
	boundedLock     = `SET LOCAL lock_timeout = '2s'`
	createPartition = `SELECT create_day_partitions($1::date)`
)

// CreatePartitions makes the partitions from today to the given number of days
// ahead (UTC) and returns how many tables are new. A day that cannot be made now
// does not keep the later ones from being made: those have no rows in the way.
func (p *Pruner) CreatePartitions(ctx context.Context, now time.Time, days int) (made int, err error) {
	for i := range days + 1 {
		day := now.UTC().AddDate(0, 0, i).Format(time.DateOnly)
		n, fault := p.createDay(ctx, day)
		made, err = made+n, errors.Join(err, fault)
	}
	return made, err
}

func (p *Pruner) createDay(ctx context.Context, day string) (made int, err error) {
	err = inTx(ctx, p.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, boundedLock); err != nil {
			return dbError("bounding the lock", err)
		}
		return dbError("creating partitions of "+day, tx.GetContext(ctx, &made, createPartition, day))
	})
	if err != nil {
		return 0, err
	}
	return made, nil
}

const listPartitions = `
SELECT c.relname FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('events'::regclass, 'deliveries'::regclass, 'attempts'::regclass)
ORDER BY c.relname`

var dayPartition = regexp.MustCompile(`^(?:events|deliveries|attempts)_(\d{8})$`)

// DropPartitions drops the partitions that hold only rows older than keep, and
// first whatever is still owed for them. It returns the dropped days.
func (p *Pruner) DropPartitions(ctx context.Context, now time.Time, keep time.Duration) ([]string, error) {
	var names []string
	if err := p.db.SelectContext(ctx, &names, listPartitions); err != nil {
		return nil, dbError("listing partitions", err)
	}
	byDay := map[string][]string{}
	for _, name := range names {
		m := dayPartition.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		day, err := time.Parse("20060102", m[1])
		if err != nil || day.AddDate(0, 0, 1).After(now.Add(-keep)) {
			continue
		}
		byDay[m[1]] = append(byDay[m[1]], name)
	}
	var dropped []string
	for day, tables := range byDay {
		if err := p.dropDay(ctx, day, tables); err != nil {
			return dropped, err
		}
		dropped = append(dropped, day)
	}
	return dropped, nil
}

// forgetDay drops the work on a day's deliveries, lane by lane, so that the
// counts stay right.
const (
	lanesOfDay = `
SELECT DISTINCT webhook_id FROM pending_deliveries WHERE delivery_id < uuid_floor($1::timestamptz) ORDER BY webhook_id`
	forgetOfLane = `
WITH gone AS (
	DELETE FROM pending_deliveries WHERE webhook_id = $1 AND delivery_id < uuid_floor($2::timestamptz)
	RETURNING kind, admitted
)
UPDATE lanes SET admitted = lanes.admitted - g.admitted, queued = lanes.queued - g.queued
FROM (SELECT count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS queued
	FROM gone WHERE kind = 'event') g
WHERE lanes.webhook_id = $1`
)

func (p *Pruner) dropDay(ctx context.Context, day string, tables []string) error {
	start, err := time.Parse("20060102", day)
	if err != nil {
		return err
	}
	end := start.AddDate(0, 0, 1).Format(time.RFC3339)
	var hooks []string
	if err := p.db.SelectContext(ctx, &hooks, lanesOfDay, end); err != nil {
		return dbError("finding work on old deliveries", err)
	}
	return inTx(ctx, p.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, boundedLock); err != nil {
			return dbError("bounding the lock", err)
		}
		if _, err := tx.ExecContext(ctx, lockLanesInOrder, pq.Array(hooks)); err != nil {
			return dbError("locking lanes", err)
		}
		for _, hook := range hooks {
			if _, err := tx.ExecContext(ctx, forgetOfLane, hook, end); err != nil {
				return dbError("forgetting old deliveries", err)
			}
		}
		for _, table := range tables {
			// Safety: table matched dayPartition, so it needs no quoting.
			if _, err := tx.ExecContext(ctx, fmt.Sprintf(`DROP TABLE %s`, table)); err != nil {
				return dbError("dropping partition "+table, err)
			}
		}
		return nil
	})
}

const (
	deleteOldKeys = `DELETE FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1)`
	// A deleted webhook goes when no delivery can refer to it any more.
	deleteOldWebhooks = `
DELETE FROM webhooks w WHERE deleted_at < now() - make_interval(secs => $1)
	AND NOT EXISTS (SELECT FROM lanes l WHERE l.webhook_id = w.id)`
)

// DeleteExpired removes idempotency keys past their time to live and webhooks
// deleted more than keep ago.
func (p *Pruner) DeleteExpired(ctx context.Context, keep time.Duration) error {
	if _, err := p.db.ExecContext(ctx, deleteOldKeys, idempotencyTTL.Seconds()); err != nil {
		return dbError("deleting old idempotency keys", err)
	}
	_, err := p.db.ExecContext(ctx, deleteOldWebhooks, keep.Seconds())
	return dbError("deleting old webhooks", err)
}
