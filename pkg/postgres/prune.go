package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// Pruner makes partitions ahead of time and drops what is too old to keep.
type Pruner struct{ db *sqlx.DB }

// NewPruner makes the housekeeping store; any pool will do.
func NewPruner(db *sqlx.DB) *Pruner { return &Pruner{db: db} }

const (
	// Dropping partitions locks their parents for a moment. Whoever cannot get
	// that lock soon gives up and tries again next time, instead of making every
	// other statement queue behind. Making one is bounded alike.
	boundedLock     = `SET LOCAL lock_timeout = '2s'`
	createPartition = `SELECT create_day_partition($1, $2::date)`
)

// CreatePartitions makes the partitions from today to the given number of days
// ahead (UTC) and returns how many tables are new. One that cannot be made now
// does not keep the others from being made. A day of which the default partition
// holds very many rows is left to it. Rows that came to the default partition after
// their day had got one of its own, where nobody finds them, are moved there.
func (p *Pruner) CreatePartitions(ctx context.Context, now time.Time, days int) (made int, err error) {
	for i := range days + 1 {
		day := now.UTC().AddDate(0, 0, i).Format(time.DateOnly)
		for _, parent := range []string{"events", "deliveries", "attempts"} {
			var isNew bool
			fault := p.db.GetContext(ctx, &isNew, createPartition, parent, day)
			err = errors.Join(err, dbError("creating the partition of "+parent+" of "+day, fault))
			if isNew {
				made++
			}
		}
	}
	return made, errors.Join(err, p.moveStrays(ctx))
}

// moveStray has a default partition, its key, a day's partition and the day. The
// limit keeps the transaction short; more are moved the next time.
const moveStray = `
WITH moved AS (
	DELETE FROM %[1]s WHERE ctid = ANY (ARRAY(
		SELECT ctid FROM %[1]s WHERE %[2]s >= uuid_floor('%[4]s 00:00+00') AND %[2]s < uuid_floor('%[4]s 00:00+00'::timestamptz + interval '24 hours') LIMIT 10000))
	RETURNING *
)
INSERT INTO %[3]s SELECT * FROM moved`

// moveStrays moves rows that were on their way to a default partition when their
// day got one of its own. PostgreSQL refuses nearly all of them, and we try those
// again, but now and then one is let in.
func (p *Pruner) moveStrays(ctx context.Context) error {
	var some bool
	if err := p.db.GetContext(ctx, &some, selectStrays); err != nil || !some {
		return dbError("looking into the default partitions", err)
	}
	days, err := p.partitionsBefore(ctx, time.Now().AddDate(100, 0, 0))
	if err != nil {
		return err
	}
	for day, tables := range days {
		for _, table := range tables {
			parent, _, _ := strings.Cut(table, "_")
			// Safety: table matched dayPartition, and so did the day, so they need no quoting.
			_, fault := p.db.ExecContext(ctx, fmt.Sprintf(moveStray, parent+"_default", keyOf(parent), table, day))
			err = errors.Join(err, dbError("moving rows to partition "+table, fault))
		}
	}
	return err
}

// keyOf is the column that a table is partitioned by.
func keyOf(parent string) string {
	if parent == "attempts" {
		return "delivery_id"
	}
	return "id"
}

const listPartitions = `
SELECT c.relname FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent IN ('events'::regclass, 'deliveries'::regclass, 'attempts'::regclass)
ORDER BY c.relname`

var dayPartition = regexp.MustCompile(`^(?:events|deliveries|attempts)_(\d{8})$`)

// DropPartitions drops the partitions that hold only rows older than keep, and
// first whatever is still owed for them. It returns the dropped days. What cannot
// be dropped now, because somebody reads it, is left for the next time. Rows of
// the same age in the default partitions are deleted.
func (p *Pruner) DropPartitions(ctx context.Context, now time.Time, keep time.Duration) ([]string, error) {
	end := now.Add(-keep).UTC().Truncate(24 * time.Hour) // whole days
	days, err := p.partitionsBefore(ctx, end)
	if err != nil {
		return nil, err
	}
	if err := p.forget(ctx, end); err != nil {
		return nil, err
	}
	var dropped []string
	for _, day := range slices.Sorted(maps.Keys(days)) {
		fault := p.dropTables(ctx, days[day])
		if fault == nil {
			dropped = append(dropped, day)
		}
		err = errors.Join(err, fault)
	}
	err = errors.Join(err, p.deleteStrays(ctx, end))
	// Once more, for what was held by somebody the first time.
	return dropped, errors.Join(err, p.forget(ctx, end))
}

// partitionsBefore returns the partitions of the days that were over by end. Of
// a day, attempts come before their deliveries, and these before their events.
func (p *Pruner) partitionsBefore(ctx context.Context, end time.Time) (map[string][]string, error) {
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
		if day, err := time.Parse("20060102", m[1]); err == nil && day.Before(end) {
			byDay[m[1]] = append(byDay[m[1]], name)
		}
	}
	return byDay, nil
}

// dropTables drops each table in a transaction of its own: dropping locks the
// table's parent, and to hold one such lock while waiting for another, or for a
// lane, is how to meet accepting in a deadlock.
func (p *Pruner) dropTables(ctx context.Context, tables []string) error {
	for _, table := range tables {
		err := inTx(ctx, p.db, func(tx *sqlx.Tx) error {
			if _, err := tx.ExecContext(ctx, boundedLock); err != nil {
				return dbError("bounding the lock", err)
			}
			// Safety: table matched dayPartition, so it needs no quoting.
			_, err := tx.ExecContext(ctx, fmt.Sprintf(`DROP TABLE %s`, table))
			return dbError("dropping partition "+table, err)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Rows are deleted in batches, by their places: one that is changed meanwhile
// gets another place, and stays.
const (
	// Formatted with a default partition's name and its key.
	deleteStrays = `
DELETE FROM %[1]s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %[1]s WHERE %[2]s < uuid_floor($1::timestamptz) LIMIT $2))`
	deleteOldKeys = `
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
	SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1) LIMIT $2))`
	// A deleted webhook goes when no delivery can refer to it any more.
	deleteOldWebhooks = `
DELETE FROM webhooks w WHERE deleted_at < now() - make_interval(secs => $1)
	AND NOT EXISTS (SELECT FROM lanes l WHERE l.webhook_id = w.id)`
)

// deleteStrays removes the rows of the default partitions that belong to days
// before end.
func (p *Pruner) deleteStrays(ctx context.Context, end time.Time) error {
	for _, parent := range []string{"attempts", "deliveries", "events"} {
		if err := p.deleteAll(ctx, fmt.Sprintf(deleteStrays, parent+"_default", keyOf(parent)), end); err != nil {
			return dbError("deleting old rows of the default partition of "+parent, err)
		}
	}
	return nil
}

// deleteAll runs a statement that deletes a batch until there is nothing left.
func (p *Pruner) deleteAll(ctx context.Context, query string, older any) error {
	for {
		res, err := p.db.ExecContext(ctx, query, older, pruneBatch)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n < pruneBatch {
			return err
		}
	}
}

// DeleteExpired removes idempotency keys past their time to live and webhooks
// deleted more than keep ago.
func (p *Pruner) DeleteExpired(ctx context.Context, keep time.Duration) error {
	if err := p.deleteAll(ctx, deleteOldKeys, idempotencyTTL.Seconds()); err != nil {
		return dbError("deleting old idempotency keys", err)
	}
	_, err := p.db.ExecContext(ctx, deleteOldWebhooks, keep.Seconds())
	return dbError("deleting old webhooks", err)
}
