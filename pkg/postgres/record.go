package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// admitNext is the end of every statement that frees or finds slots. Before it
// must come `lane`: locked lanes with their tenants and new state, the slots given back
// (freed; NULL: nothing was settled) and the rows queued again, the number of
// slots to fill (room), whether no slot is taken otherwise (idle), whether the lane
// was written while this statement waited for its lock (moved), and whether rows may
// be queued that its snapshot misses (stale): there are more of them, or fewer, or as
// many and nobody else is there to go on with them.
// Parameters: $1 how many to lease at once of each tenant, $2 to whom, $5 for how many
// to ring.
const admitNext = `
, in_all AS (
	SELECT $5::bigint + coalesce(sum(value::int), 0) AS room FROM jsonb_each_text($1::jsonb)
), waiting AS (
	SELECT p.delivery_id, p.turn, p.due_at, p.turn = 1 AND l.idle AS lone, l.moved, ` + leaseMillis + ` AS lease_ms,
		row_number() OVER (PARTITION BY l.tenant_id ORDER BY p.turn, p.due_at) <= coalesce(($1::jsonb ->> l.tenant_id)::int, 0) AS leased
	FROM lane l
	JOIN webhooks w ON w.id = l.webhook_id
	CROSS JOIN LATERAL (
		SELECT delivery_id, due_at, row_number() OVER (ORDER BY due_at, delivery_id) AS turn
		FROM pending_deliveries
		WHERE webhook_id = l.webhook_id AND NOT admitted AND due_at <= now()
		ORDER BY due_at, delivery_id
		-- What a lane gave back, and of the rest as much as there is: looking at whole
		-- windows costs more than all else here.
		LIMIT least(l.room, greatest(1, coalesce(l.freed, 0) + greatest(0, (SELECT room FROM in_all) - (SELECT coalesce(sum(freed), 0) FROM lane))))
	) p
	WHERE l.room > 0
), chosen AS MATERIALIZED (
	SELECT delivery_id, moved, lease_ms, leased
	FROM (SELECT *, row_number() OVER (PARTITION BY leased ORDER BY turn, due_at) AS place FROM waiting) w
	WHERE leased OR place <= $5 OR lone
), still AS MATERIALIZED (
	-- What is chosen from a lane that has moved may have been admitted by whoever moved
	-- it. A claim then may have locked it: to wait for that would be a deadlock, as the
	-- claim may come to wait for what is locked here.
	SELECT delivery_id FROM pending_deliveries
	WHERE delivery_id = ANY (ARRAY(SELECT delivery_id FROM chosen WHERE moved)) AND NOT admitted AND due_at <= now()
	ORDER BY delivery_id FOR UPDATE SKIP LOCKED
), next AS MATERIALIZED (
	SELECT delivery_id, lease_ms, leased FROM chosen WHERE NOT moved OR delivery_id IN (SELECT delivery_id FROM still)
), p AS (
	UPDATE pending_deliveries p SET admitted = true, rung_at = now(), rings = 0,
		lease_until = CASE WHEN n.leased THEN now() + n.lease_ms * interval '1 millisecond' END,
		lease_holder = CASE WHEN n.leased THEN $2 END
	FROM next n
	WHERE p.delivery_id = n.delivery_id AND NOT p.admitted
		AND p.due_at <= now() -- it may have been sent, and put off, while we waited for a lock
	RETURNING p.*
), change AS (
	-- No join: expecting one lane, the planner would compare each with each.
	SELECT webhook_id, sum(freed) AS freed, sum(requeued) AS requeued, count(taken) AS taken, max(quiet_until) AS quiet_until,
		max(eased) AS eased, max(failing_since) AS failing_since, max(failed_at) AS failed_at, max(failures) AS failures, max(told_at) AS told_at
	FROM (
		SELECT webhook_id, freed, requeued, NULL::uuid AS taken, quiet_until, eased, failing_since, failed_at, failures, told_at FROM lane
		UNION ALL
		SELECT webhook_id, NULL, NULL, delivery_id, NULL, NULL, NULL, NULL, NULL, NULL FROM p
	) AS each
	GROUP BY webhook_id
), counted AS (
	UPDATE lanes SET
		admitted = lanes.admitted - coalesce(c.freed, 0) + c.taken, queued = lanes.queued + coalesce(c.requeued, 0) - c.taken,
		quiet_until = c.quiet_until, eased = c.eased, failing_since = c.failing_since, failed_at = c.failed_at, failures = c.failures,
		told_at = c.told_at
	FROM change c
	WHERE lanes.webhook_id = c.webhook_id AND (c.freed IS NOT NULL OR c.taken > 0)
)
SELECT CASE WHEN p.lease_until IS NULL THEN 'rung' ELSE 'claimed' END AS what, ` + claimColumns + `
FROM p JOIN webhooks w ON w.id = p.webhook_id JOIN events e ON e.id = p.event_id
UNION ALL
SELECT 'again', ` + noUUID + `, webhook_id, '', ` + noUUID + `, '', '', 0, 0, 0, '', '', '' FROM lane WHERE stale`

const noUUID = `'00000000-0000-0000-0000-000000000000'::uuid`

// lockLanes locks the lanes of $3 and keeps what the statement saw of them before
// they were its own. $4 is the window.
const lockLanes = `
snapshot AS (
	SELECT webhook_id, queued, ctid AS version FROM lanes WHERE webhook_id = ANY ($3::uuid[])
), locked AS MATERIALIZED (
	SELECT webhook_id, tenant_id, open, admitted, queued, quiet_until, eased, failing_since, failed_at, failures, told_at, ctid AS version
	FROM lanes WHERE webhook_id = ANY ($3::uuid[]) ORDER BY webhook_id FOR UPDATE
)`

const admitDue = `
WITH ` + lockLanes + `, lane AS MATERIALIZED (
	SELECT l.webhook_id, l.tenant_id, ` + laneState + `, NULL::bigint AS freed, NULL::bigint AS requeued,
		CASE WHEN l.open AND l.queued > 0 AND ` + notQuiet + ` THEN greatest(least($4, ` + mostOf + `) - l.admitted, 0) ELSE 0 END AS room,
		l.admitted <= 0 AS idle, l.version <> s.version AS moved,
		l.open AND (l.queued <> s.queued OR l.version <> s.version AND l.admitted <= 0) AND l.queued > 0 AND l.admitted < least($4, ` + mostOf + `) AND ` + notQuiet + ` AS stale
	FROM locked l JOIN snapshot s ON s.webhook_id = l.webhook_id
)` + admitNext

// recordOutcomes writes what became of attempts, by compare-and-set on the
// attempt number and the lease's holder (I4), and hands the slots on.
//
// The lanes are locked before any row is touched: whoever pauses a webhook
// does it in that order too. $6.. are parallel arrays, one entry an outcome.
const recordOutcomes = `
WITH ` + lockLanes + `, outcome AS MATERIALIZED (
	SELECT * FROM unnest($6::uuid[], $7::int[], $8::text[], $9::text[], $10::float8[], $11::text[],
		$12::timestamptz[], $13::int[], $14::int[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::float8[])
		AS o (id, number, holder, status, delay, reason, started_at, duration_ms, response_status, error_class, error,
			request_headers, response_headers, response_body, quiet_for)
	WHERE (SELECT count(*) FROM locked) >= 0
), gone AS (
	DELETE FROM pending_deliveries p USING outcome o
	WHERE p.delivery_id = ANY ($6::uuid[]) AND p.delivery_id = o.id
		AND p.attempts = o.number - 1 AND p.lease_holder = o.holder AND o.status IN ('success', 'failed')
	RETURNING p.webhook_id, p.tenant_id, p.event_id, p.event_type, p.kind, p.failed_at AS failed_before, NULL::timestamptz AS due_at, o.*
), back AS (
	UPDATE pending_deliveries p SET attempts = o.number, admitted = false, lease_until = NULL, lease_holder = NULL,
		due_at = now() + o.delay * interval '1 second', failed_at = now(), failed_before = p.failed_at
	FROM outcome o
	WHERE p.delivery_id = ANY ($6::uuid[]) AND p.delivery_id = o.id
		AND p.attempts = o.number - 1 AND p.lease_holder = o.holder AND o.status = 'retrying'
	RETURNING p.webhook_id, p.tenant_id, p.event_id, p.event_type, p.kind, p.failed_before, p.due_at, o.*
), settled AS MATERIALIZED (
	SELECT * FROM gone UNION ALL SELECT * FROM back
), attempt AS (
	INSERT INTO attempts (delivery_id, number, started_at, duration_ms, response_status, error_class, error,
		request_headers, response_headers, response_body)
	SELECT id, number, started_at, duration_ms, nullif(response_status, 0), nullif(error_class, ''), nullif(error, ''),
		request_headers, response_headers, nullif(response_body, '') FROM settled
), delivery AS (
	UPDATE deliveries d SET status = s.status, failure_reason = nullif(s.reason, ''), attempt_count = s.number,
		next_attempt_at = s.due_at, response_status = nullif(s.response_status, 0), last_error = nullif(s.error, ''),
		last_duration_ms = s.duration_ms, completed_at = CASE WHEN s.due_at IS NULL THEN now() END
	FROM settled s
	WHERE d.id = s.id AND d.webhook_id = s.webhook_id -- by whichever index: statistics of empty partitions mislead
), freed AS (
	SELECT webhook_id, count(*) AS freed, count(due_at) AS requeued, ` + aboutHealth + `
	FROM settled WHERE kind = 'event' GROUP BY webhook_id
), settled_lane AS (
	SELECT l.webhook_id, l.open, l.admitted, l.queued, l.version, f.freed, f.requeued, ` + newHealth + `, ` + news + `
	FROM locked l LEFT JOIN freed f ON f.webhook_id = l.webhook_id
)` + noticeNews + `, lane AS MATERIALIZED (
	SELECT l.webhook_id, l.tenant_id, ` + toldState + `, l.freed, l.requeued,
		CASE WHEN l.open AND l.queued > 0 AND ` + notQuiet + ` THEN greatest(least($4, ` + mostOf + `) - l.admitted + coalesce(l.freed, 0), 0) ELSE 0 END AS room,
		l.admitted <= coalesce(l.freed, 0) AS idle, l.version <> s.version AS moved,
		l.open AND (l.queued <> s.queued OR l.version <> s.version AND l.admitted <= coalesce(l.freed, 0)) AND l.queued > 0 AND ` + notQuiet + ` AS stale
	FROM settled_lane l JOIN snapshot s ON s.webhook_id = l.webhook_id
)` + admitNext + `
UNION ALL
SELECT 'lost', id, ` + noUUID + `, '', ` + noUUID + `, '', '', 0, 0, 0, '', '', ''
FROM outcome WHERE id NOT IN (SELECT id FROM settled)`

// Record writes outcomes and fills the slots they free, as far as there is room
// for more. Either everything is committed or nothing is; after an error nobody knows
// which, and recording the same again is safe.
func (s *Work) Record(ctx context.Context, outcomes []webhook.Outcome, room webhook.Room) (webhook.Admission, error) {
	args, err := s.recordArgs(outcomes, room)
	if err != nil {
		return webhook.Admission{}, err
	}
	adm, err := s.admission(ctx, recordOutcomes, room.Holder, args)
	if err == nil && len(adm.Lost) > 0 {
		adm.Lost = s.lost(ctx, adm.Lost, outcomes)
	}
	return adm, err
}

// Admit fills free slots of the given webhooks, as Record does. A webhook that
// is paused, or has nothing due, gets nothing.
func (s *Work) Admit(ctx context.Context, hooks []webhook.WebhookID, room webhook.Room) (webhook.Admission, error) {
	return s.admission(ctx, admitDue, room.Holder, []any{leasesJSON(room.Lease), room.Holder, pq.Array(webhookUUIDs(hooks)), s.window, room.Ring})
}

// admissionRow is a claimRow, or less than that, and what it stands for.
type admissionRow struct {
	What string `db:"what"`
	claimRow
}

func (s *Work) admission(ctx context.Context, query, holder string, args []any) (webhook.Admission, error) {
	at := s.now()
	var rows []admissionRow
	if err := s.stmts.selectAll(ctx, &rows, query, args...); err != nil {
		return webhook.Admission{}, dbError("recording outcomes", err)
	}
	var out webhook.Admission
	var claimed []claimRow
	for _, row := range rows {
		if row.What == "claimed" {
			claimed = append(claimed, row.claimRow)
			continue
		}
		if err := row.addTo(&out); err != nil {
			return webhook.Admission{}, fmt.Errorf("reading what was admitted: %w", err)
		}
	}
	var err error
	out.Claimed, err = s.claims(ctx, claimed, holder, at)
	return out, err
}

func (row admissionRow) addTo(a *webhook.Admission) error {
	switch row.What {
	case "rung":
		owed, err := row.owed()
		a.Rung = append(a.Rung, owed)
		return err
	case "again":
		hook, err := webhook.WebhookIDFromUUID(row.WebhookID)
		a.Again = append(a.Again, hook)
		return err
	default:
		id, err := webhook.DeliveryIDFromUUID(row.DeliveryID)
		a.Lost = append(a.Lost, id)
		return err
	}
}

// recordArgs lays outcomes out as the parallel arrays of recordOutcomes, sorted
// by delivery so that two recorders lock rows in the same order.
func (s *Work) recordArgs(outcomes []webhook.Outcome, room webhook.Room) ([]any, error) {
	sorted := slices.Clone(outcomes)
	slices.SortFunc(sorted, func(a, b webhook.Outcome) int { return a.Claim.Delivery.Compare(b.Claim.Delivery) })
	n := len(sorted)
	ids, numbers, holders, statuses := make([]string, n), make([]int, n), make([]string, n), make([]string, n)
	delays, reasons, starts, durations := make([]float64, n), make([]string, n), make([]string, n), make([]int, n)
	codes, classes, texts := make([]int, n), make([]string, n), make([]string, n)
	asked, answered, bodies, quiets := make([]string, n), make([]string, n), make([]string, n), make([]float64, n)
	hooks := map[string]bool{}
	for i, o := range sorted {
		a := o.Attempt
		ids[i], numbers[i], holders[i], statuses[i] = o.Claim.Delivery.UUID(), a.Number, o.Claim.Holder, string(o.Next.Status)
		delays[i], reasons[i] = o.Next.Delay.Seconds(), string(o.Next.Reason)
		starts[i], durations[i] = startOf(a), int(a.Duration.Milliseconds())
		codes[i], classes[i], texts[i] = a.ResponseStatus, string(a.ErrorClass), a.Error
		var err error
		if asked[i], err = fieldsJSON(a.RequestHeaders); err != nil {
			return nil, err
		}
		if answered[i], err = fieldsJSON(a.ResponseHeaders); err != nil {
			return nil, err
		}
		bodies[i], quiets[i] = a.ResponseBody, o.Next.QuietFor.Seconds()
		hooks[o.Claim.Webhook.UUID()] = true
	}
	webhooks := make([]string, 0, len(hooks))
	for id := range hooks {
		webhooks = append(webhooks, id)
	}
	return []any{
		leasesJSON(room.Lease), room.Holder, pq.Array(webhooks), s.window, room.Ring,
		pq.Array(ids), pq.Array(numbers), pq.Array(holders), pq.Array(statuses), pq.Array(delays), pq.Array(reasons),
		pq.Array(starts), pq.Array(durations), pq.Array(codes), pq.Array(classes), pq.Array(texts),
		pq.Array(asked), pq.Array(answered), pq.Array(bodies), pq.Array(quiets),
	}, nil
}

// leasesJSON is an object with tenants as its keys: to look one up is no join, which
// the planner would make of each with each.
func leasesJSON(lease map[webhook.TenantID]int) string {
	if len(lease) == 0 {
		return "{}"
	}
	b, _ := json.Marshal(lease) // texts and numbers: never fails
	return string(b)
}

func fieldsJSON(fields []webhook.Field) (string, error) {
	if len(fields) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(fields)
	return string(b), err
}

const webhooksDue = `
SELECT DISTINCT webhook_id FROM pending_deliveries WHERE delivery_id = ANY ($1::uuid[]) AND NOT admitted AND due_at <= now()`

// AdmitDue fills free slots of the webhooks that the given deliveries belong
// to, where these are due and not admitted. Older deliveries of the same
// webhook go first.
func (s *Work) AdmitDue(ctx context.Context, ids []webhook.DeliveryID, room webhook.Room) (webhook.Admission, error) {
	var hooks []string
	if err := s.stmts.selectAll(ctx, &hooks, webhooksDue, pq.Array(uuids(ids))); err != nil {
		return webhook.Admission{}, dbError("finding the lanes of due deliveries", err)
	}
	if len(hooks) == 0 {
		return webhook.Admission{}, nil
	}
	return s.admission(ctx, admitDue, room.Holder, []any{leasesJSON(room.Lease), room.Holder, pq.Array(hooks), s.window, room.Ring})
}
