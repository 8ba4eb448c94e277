package postgres

import (
	"context"
	"errors"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Events accepts events: the writing half of the api service.
type Events struct {
	db     *sqlx.DB // a HotPath pool
	stmts  *prepared
	window int
}

// NewEvents makes a store that admits at most window deliveries per webhook at
// once; the rest is parked.
func NewEvents(db *sqlx.DB, window int) *Events {
	return &Events{db: db, stmts: newPrepared(db), window: window}
}

// storeEvents is how both ways of accepting begin: it stores events and finds
// who subscribes at this instant. The place is that of an event among those its
// webhook is owed. Parameters: ids, tenants, types, bodies, traceparents; then
// pairs of (index of event, pattern that would match it). The events of
// acceptNotices have the ids of notices.
const (
	storeEvents   = storing + matching + matched
	acceptEvents  = storeEvents + owing
	acceptNotices = storing + matching + notAboutItself + matched + owing
)

const storing = `
WITH event AS MATERIALIZED (
	SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[])
		WITH ORDINALITY AS e (id, tenant_id, type, body, traceparent, n)
), stored AS (
	INSERT INTO events (id, tenant_id, type, body, traceparent)
	SELECT id, tenant_id, type, body, traceparent FROM event
)`

const matching = `, matched AS MATERIALIZED (
	SELECT n, webhook_id, row_number() OVER (PARTITION BY webhook_id ORDER BY n) AS place
	FROM (
		SELECT DISTINCT s.webhook_id, e.n
		FROM unnest($6::int[], $7::text[]) AS c (n, pattern)
		JOIN event e ON e.n = c.n
		JOIN subscriptions s ON s.tenant_id = e.tenant_id AND s.pattern = c.pattern`

const matched = `
	) m
)`

// owing ends acceptEvents, which stores events and writes what they are owed, all
// in one statement (I1). Its last parameter is the window.
//
// The lanes are locked before anything is decided about admission; a lane that
// vanished while we waited belongs to a webhook deleted in that instant.
//
// Rows are inserted in the order of their ids: most indexes then grow at their
// end only, which matters where much is owed.
const owing = `, lane AS MATERIALIZED (
	SELECT l.webhook_id, l.open, l.admitted, l.queued, l.quiet_until, l.eased, l.failures, w.max_attempts
	FROM lanes l JOIN webhooks w ON w.id = l.webhook_id
	WHERE l.webhook_id = ANY (ARRAY(SELECT DISTINCT webhook_id FROM matched)) AND NOT l.deleted
	ORDER BY l.webhook_id FOR UPDATE OF l
), slots AS MATERIALIZED (
	SELECT webhook_id, least($8, ` + mostOf + `) - admitted AS free FROM lane l WHERE ` + admitsNew + `
), owed AS MATERIALIZED (
	SELECT m.n, delivery_id(e.id, m.webhook_id) AS id, e.id AS event_id, e.tenant_id, e.type, m.webhook_id, l.max_attempts,
		m.place <= coalesce(s.free, 0) AS admitted
	FROM matched m
	JOIN lane l ON l.webhook_id = m.webhook_id
	LEFT JOIN slots s ON s.webhook_id = m.webhook_id
	JOIN event e ON e.n = m.n
	ORDER BY id
), delivery AS (
	INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, event_type, max_attempts, next_attempt_at)
	SELECT id, tenant_id, webhook_id, event_id, type, max_attempts, now() FROM owed
), pending AS (
	INSERT INTO pending_deliveries (delivery_id, webhook_id, tenant_id, event_id, event_type, budget, admitted)
	SELECT id, webhook_id, tenant_id, event_id, type, max_attempts, admitted FROM owed
), counted AS (
	UPDATE lanes SET admitted = lanes.admitted + o.admitted, queued = lanes.queued + o.queued
	FROM (SELECT webhook_id, count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS queued
		FROM owed GROUP BY webhook_id) o
	WHERE lanes.webhook_id = o.webhook_id
)
SELECT n, count(*) AS deliveries,
	array_agg(id) FILTER (WHERE admitted) AS admitted, array_agg(webhook_id) FILTER (WHERE admitted) AS webhooks
FROM owed GROUP BY n ORDER BY n`

// countSubscribers counts the webhooks that want events of a type ($2), each given
// with the patterns that match it ($3).
const countSubscribers = `
SELECT c.type, count(DISTINCT s.webhook_id) AS webhooks
FROM unnest($2::text[], $3::text[]) AS c (type, pattern)
JOIN subscriptions s ON s.tenant_id = $1 AND s.pattern = c.pattern
GROUP BY c.type`

// Fanouts returns how many of a tenant's webhooks want events of each type now.
func (s *Events) Fanouts(ctx context.Context, tenant webhook.TenantID, types []webhook.EventType) (map[webhook.EventType]int, error) {
	byName := make(map[string]webhook.EventType, len(types))
	var names, patterns []string
	for _, t := range types {
		byName[t.String()] = t
		for _, p := range t.Candidates() {
			names, patterns = append(names, t.String()), append(patterns, p.String())
		}
	}
	var rows []struct {
		Type     string `db:"type"`
		Webhooks int    `db:"webhooks"`
	}
	if err := s.stmts.selectAll(ctx, &rows, countSubscribers, tenant, pq.Array(names), pq.Array(patterns)); err != nil {
		return nil, dbError("counting subscribers", err)
	}
	fanouts := make(map[webhook.EventType]int, len(types))
	for _, row := range rows {
		fanouts[byName[row.Type]] = row.Webhooks
	}
	return fanouts, nil
}

// Accept stores each submission whole or refuses it whole, and commits once.
// The receipts are in the order of the submissions; owed is what may be rung
// for, the admitted deliveries only.
//
// Two submissions of one batch must not share an idempotency key. An error means
// that nothing was stored, or that the connection died at the commit and nobody
// can know: only an idempotency key makes trying again safe then.
func (s *Events) Accept(ctx context.Context, batch []webhook.Submission) ([]webhook.Receipt, []webhook.Owed, error) {
	receipts, owed, err := s.acceptTogether(ctx, batch)
	if len(batch) > 1 && (isBadData(err) || isLocked(err)) {
		return s.acceptOneByOne(ctx, batch)
	}
	return receipts, owed, err
}

// acceptOneByOne keeps one bad submission, or one locked lane, from taking its
// neighbours along. A tenant whose lane is locked is waited for once.
func (s *Events) acceptOneByOne(ctx context.Context, batch []webhook.Submission) ([]webhook.Receipt, []webhook.Owed, error) {
	receipts := make([]webhook.Receipt, len(batch))
	locked := map[webhook.TenantID]error{}
	var owed []webhook.Owed
	for i := range batch {
		tenant := batch[i].Events[0].Event.Tenant
		if receipts[i].Err = locked[tenant]; receipts[i].Err != nil {
			continue
		}
		one, more, err := s.acceptTogether(ctx, batch[i:i+1])
		if err != nil {
			receipts[i].Err = err
			if isLocked(err) {
				locked[tenant] = err
			}
			continue
		}
		receipts[i], owed = one[0], append(owed, more...)
	}
	return receipts, owed, nil
}

// crossings is how often accepting may be crossed before its client hears of it:
// by a deadlock, or by the new partitions of a day, events and then deliveries.
const crossings = 2

// acceptTogether tries again at once where it was only crossed by somebody else:
// nothing is committed then, and there is no reason to trouble the client.
func (s *Events) acceptTogether(ctx context.Context, batch []webhook.Submission) ([]webhook.Receipt, []webhook.Owed, error) {
	for crossed := 0; ; crossed++ {
		receipts, owed, err := s.acceptOnce(ctx, batch)
		if !isCrossed(err) || crossed == crossings {
			return receipts, owed, err
		}
	}
}

func (s *Events) acceptOnce(ctx context.Context, batch []webhook.Submission) ([]webhook.Receipt, []webhook.Owed, error) {
	insert, err := s.stmts.get(ctx, acceptEvents)
	if err != nil {
		return nil, nil, err
	}
	if !anyKeys(batch) {
		receipts := make([]webhook.Receipt, len(batch))
		fresh := prepare(batch, receipts, nil)
		owed, err := insertEvents(ctx, insert, s.window, fresh, receipts)
		if isTaken(err) {
			owed, err = s.acceptedBefore(ctx, fresh, receipts, err)
		}
		return receipts, owed, err
	}
	for {
		receipts, owed, err := s.acceptWithKeys(ctx, insert, batch)
		if !errors.Is(err, errRaced) {
			return receipts, owed, err
		}
	}
}

func (s *Events) acceptWithKeys(ctx context.Context, insert *sqlx.Stmt, batch []webhook.Submission) (receipts []webhook.Receipt, owed []webhook.Owed, err error) {
	err = inTx(ctx, s.db, func(tx *sqlx.Tx) error {
		known, err := lookUpKeys(ctx, tx, batch)
		if err != nil {
			return err
		}
		receipts = make([]webhook.Receipt, len(batch))
		fresh := prepare(batch, receipts, known)
		if err := claimKeys(ctx, tx, fresh); err != nil {
			return err
		}
		owed, err = insertEvents(ctx, tx.StmtxContext(ctx, insert), s.window, fresh, receipts)
		return err
	})
	return receipts, owed, err
}

// submitted is an event on its way in, with its place in the batch.
type submitted struct {
	webhook.SubmittedEvent
	submission, index int
}

// flatten lists every event of the batch with its place.
func flatten(batch []webhook.Submission) []submitted {
	var all []submitted
	for i, sub := range batch {
		for j, e := range sub.Events {
			all = append(all, submitted{e, i, j})
		}
	}
	return all
}

// prepare writes the receipts that are known before anything is stored, and
// returns the events to store: those of submissions without a conflict, less
// the duplicates.
func prepare(batch []webhook.Submission, receipts []webhook.Receipt, known map[int]knownKey) []submitted {
	all := flatten(batch)
	for i, sub := range batch {
		receipts[i].Events = make([]webhook.AcceptedEvent, len(sub.Events))
	}
	for n, e := range all {
		accepted := &receipts[e.submission].Events[e.index]
		accepted.ID = e.Event.ID
		k, seen := known[n]
		if !seen {
			continue
		}
		if string(k.BodyHash) != string(e.Fingerprint[:]) {
			receipts[e.submission].Err = conflictingKey(len(batch[e.submission].Events), e.index)
			continue
		}
		id, err := webhook.EventIDFromUUID(k.EventID)
		if err != nil {
			receipts[e.submission].Err = err
		}
		*accepted = webhook.AcceptedEvent{ID: id, Deliveries: k.Deliveries, Duplicate: true}
	}
	var fresh []submitted
	for _, e := range all {
		if r := receipts[e.submission]; r.Err == nil && !r.Events[e.index].Duplicate {
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// owedRow is what an event owes; only what was admitted is worth listing.
type owedRow struct {
	N          int            `db:"n"`
	Deliveries int            `db:"deliveries"`
	Admitted   pq.StringArray `db:"admitted"`
	Webhooks   pq.StringArray `db:"webhooks"` // of the admitted ones
}

// insertEvents stores events with what they owe and completes their receipts.
func insertEvents(ctx context.Context, stmt *sqlx.Stmt, window int, fresh []submitted, receipts []webhook.Receipt) ([]webhook.Owed, error) {
	if len(fresh) == 0 {
		return nil, nil
	}
	var rows []owedRow
	if err := stmt.SelectContext(ctx, &rows, acceptArgs(fresh, window)...); err != nil {
		return nil, dbError("storing events", err)
	}
	return receive(rows, fresh, receipts)
}

// receive completes the receipts of fresh, and returns what may be rung for.
func receive(rows []owedRow, fresh []submitted, receipts []webhook.Receipt) ([]webhook.Owed, error) {
	var owed []webhook.Owed
	for _, row := range rows {
		e := fresh[row.N-1]
		receipts[e.submission].Events[e.index].Deliveries = row.Deliveries
		for i, id := range row.Admitted {
			o, err := newOwed(id, row.Webhooks[i], e.Event.Tenant, e.Event.Type.String())
			if err != nil {
				return nil, err
			}
			owed = append(owed, o)
		}
	}
	return owed, nil
}

// newOwed is a delivery that was accepted right now.
func newOwed(delivery, hook string, tenant webhook.TenantID, eventType string) (webhook.Owed, error) {
	d, err := webhook.DeliveryIDFromUUID(delivery)
	if err != nil {
		return webhook.Owed{}, err
	}
	w, err := webhook.WebhookIDFromUUID(hook)
	if err != nil {
		return webhook.Owed{}, err
	}
	return webhook.Owed{Delivery: d, Webhook: w, Tenant: tenant, EventType: eventType, Kind: webhook.KindEvent, Attempt: 1}, nil
}

func acceptArgs(fresh []submitted, window int) []any {
	n := len(fresh)
	ids, tenants, types := make([]string, n), make([]string, n), make([]string, n)
	bodies, traces := make([]string, n), make([]string, n)
	var at []int
	var patterns []string
	for i, e := range fresh {
		ids[i], tenants[i], types[i] = e.Event.ID.UUID(), string(e.Event.Tenant), e.Event.Type.String()
		bodies[i], traces[i] = e.Event.Body, e.Event.TraceParent
		for _, p := range e.Event.Type.Candidates() {
			at, patterns = append(at, i+1), append(patterns, p.String())
		}
	}
	return []any{pq.Array(ids), pq.Array(tenants), pq.Array(types), pq.Array(bodies), pq.Array(traces), pq.Array(at), pq.Array(patterns), window}
}
