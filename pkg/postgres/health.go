package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// How a webhook fares is written where its lane is written in any case: when
// outcomes are recorded. Where a batch has both, a success counts as the last.
const (
	// laneState is what a lane l keeps beside its counts.
	laneState = `l.quiet_until, l.eased, l.failing_since, l.failed_at, l.failures, l.told_at`

	// aboutHealth sums up the settled attempts of a lane. A 410 makes it quiet for
	// ever, before anybody can be sent after it; to disable its webhook takes other
	// locks, and comes after.
	aboutHealth = `
		CASE WHEN bool_or(reason = 'receiver_gone') THEN 'infinity' ELSE now() + nullif(max(quiet_for), 0) * interval '1 second' END AS quiet_until,
		count(*) FILTER (WHERE status = 'success') AS successes,
		bool_or(status = 'success') AS succeeded, bool_or(status <> 'success') AS failed,
		bool_or(reason IN ` + exhausted + `) AS exhausted,
		array_agg(failed_before) FILTER (WHERE status <> 'success') AS failed_before`

	// newHealth is the laneState of a locked lane l after the attempts f, but for
	// told_at. A delivery that failed before counts once since the lane has been
	// failing. $4 is the window.
	newHealth = `
		greatest(l.quiet_until, f.quiet_until) AS quiet_until,
		CASE WHEN f.quiet_until IS NOT NULL THEN 0
			WHEN 1 + (l.eased + coalesce(f.successes, 0)) / 10 < $4 THEN l.eased + coalesce(f.successes, 0) END AS eased,
		CASE WHEN f.succeeded THEN NULL WHEN f.failed THEN coalesce(l.failing_since, now()) ELSE l.failing_since END AS failing_since,
		CASE WHEN f.succeeded THEN NULL WHEN f.failed THEN now() ELSE l.failed_at END AS failed_at,
		CASE WHEN f.succeeded THEN 0 WHEN f.failed THEN l.failures + (
			SELECT count(*) FROM unnest(f.failed_before) AS b (before) WHERE (b.before >= l.failing_since) IS NOT TRUE
		) ELSE l.failures END AS failures`

	// lanesBeyond lists open lanes that failed for longer than $1 seconds in at
	// least $2 deliveries.
	lanesBeyond = `
SELECT webhook_id FROM lanes
WHERE open AND failures >= $2 AND failed_at - failing_since >= $1 * interval '1 second'
ORDER BY webhook_id LIMIT $3`

	lanesGone = `SELECT webhook_id FROM lanes WHERE ` + isGone + ` ORDER BY webhook_id LIMIT $1`
	whoIsGone = `SELECT webhook_id FROM lanes WHERE webhook_id = ANY ($1::uuid[]) AND ` + isGone
	isGone    = `open AND quiet_until = 'infinity'`

	lockActive  = `SELECT id FROM webhooks WHERE id = ANY ($1::uuid[]) AND status = 'active' AND deleted_at IS NULL ORDER BY id FOR NO KEY UPDATE`
	laneFailing = `SELECT failing_since, failed_at, failures FROM lanes WHERE webhook_id = $1 AND open AND failing_since IS NOT NULL`
	disable     = `UPDATE webhooks SET status = 'disabled', status_reason = $2, updated_at = now() WHERE id = ANY ($1::uuid[])`
)

type failingRow struct {
	Since    time.Time `db:"failing_since"`
	Until    time.Time `db:"failed_at"`
	Failures int       `db:"failures"`
}

// DisableFailing disables webhooks that fail beyond tolerance, and those of which
// whoever recorded a 410 could not do it: about limit of each. It returns them. One
// that cannot be disabled now does not keep the others from it; whoever dies here
// leaves it to the next call.
func (r *Relay) DisableFailing(ctx context.Context, tolerance webhook.Tolerance, limit int) (disabled []webhook.WebhookID, err error) {
	gone, err := r.lanes(ctx, lanesGone, limit)
	if err != nil {
		return nil, err
	}
	failing, err := r.lanes(ctx, lanesBeyond, tolerance.For.Seconds(), tolerance.Deliveries, limit)
	if err != nil {
		return nil, err
	}
	for _, hook := range gone {
		done, fault := r.DisableGone(ctx, []webhook.WebhookID{hook})
		disabled, err = append(disabled, done...), errors.Join(err, fault)
	}
	for _, hook := range failing {
		done, fault := r.disableFailing(ctx, hook, tolerance)
		err = errors.Join(err, fault)
		if done {
			disabled = append(disabled, hook)
		}
	}
	return disabled, err
}

// lanes runs a query for webhooks that may have to be disabled.
func (r *Relay) lanes(ctx context.Context, query string, args ...any) ([]webhook.WebhookID, error) {
	var rows []string
	if err := r.db.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, dbError("finding lanes that only fail", err)
	}
	return webhookIDs(rows)
}

// disableFailing looks again under the lane's lock: a success may have come.
func (r *Relay) disableFailing(ctx context.Context, hook webhook.WebhookID, tolerance webhook.Tolerance) (done bool, err error) {
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		hooks := []string{hook.UUID()}
		active, err := lockActiveTx(ctx, tx, hooks)
		if err != nil || len(active) == 0 {
			return err
		}
		if _, err := tx.ExecContext(ctx, lockLanesInOrder, pq.Array(hooks)); err != nil {
			return dbError("locking a lane", err)
		}
		var lanes []failingRow
		if err := tx.SelectContext(ctx, &lanes, laneFailing, hook.UUID()); err != nil {
			return dbError("reading how a lane fails", err)
		}
		for _, row := range lanes {
			failing := webhook.Failing{Since: row.Since, Until: row.Until, Deliveries: row.Failures}
			if done = failing.Exceeds(tolerance); done {
				return disableTx(ctx, tx, hooks, failing.Reason())
			}
		}
		return nil
	})
	return done && err == nil, err
}

// DisableGone disables those of the given webhooks that have answered 410, and
// returns them; their deliveries are held. It leaves alone who is not active, and
// who was resumed or got another URL since.
func (r *Relay) DisableGone(ctx context.Context, hooks []webhook.WebhookID) (disabled []webhook.WebhookID, err error) {
	var gone []string
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		active, err := lockActiveTx(ctx, tx, webhookUUIDs(hooks))
		if err != nil || len(active) == 0 {
			return err
		}
		if _, err := tx.ExecContext(ctx, lockLanesInOrder, pq.Array(active)); err != nil {
			return dbError("locking lanes", err)
		}
		if err := tx.SelectContext(ctx, &gone, whoIsGone, pq.Array(active)); err != nil {
			return dbError("reading which lanes answered 410", err)
		}
		return disableTx(ctx, tx, gone, webhook.GoneReason)
	})
	if err != nil {
		return nil, err
	}
	return webhookIDs(gone)
}

// lockActiveTx, too, locks in order: two workers may disable the same ones.
func lockActiveTx(ctx context.Context, tx *sqlx.Tx, hooks []string) (active []string, err error) {
	err = tx.SelectContext(ctx, &active, lockActive, pq.Array(hooks))
	return active, dbError("locking webhooks", err)
}

// disableTx needs the locks of lockActiveTx.
func disableTx(ctx context.Context, tx *sqlx.Tx, hooks []string, reason string) error {
	if len(hooks) == 0 {
		return nil
	}
	if _, err := tx.ExecContext(ctx, disable, pq.Array(hooks), reason); err != nil {
		return dbError("disabling webhooks", err)
	}
	if err := closeLanesTx(ctx, tx, hooks, false); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, noticeDisabled, pq.Array(hooks), reason)
	return dbError("noting what was disabled", err)
}
