package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// LeaseMargin is how long a lease outlives its webhook's timeout: time to hand
// the claim to a sender and to record the outcome.
const LeaseMargin = 10 * time.Second

// Work is the delivering half: claims, outcomes, admission, repair.
type Work struct {
	db     *sqlx.DB // a HotPath pool
	stmts  *prepared
	dests  *destinations
	window int
	now    func() time.Time
}

// NewWork makes a store that keeps at most window deliveries per webhook
// admitted; opener unseals secrets and headers; now is the caller's clock.
func NewWork(db *sqlx.DB, opener Opener, window int, now func() time.Time) *Work {
	stmts := newPrepared(db)
	return &Work{
		db: db, stmts: stmts, window: window, now: now,
		dests: &destinations{stmts: stmts, opener: opener, known: map[version]destination{}},
	}
}

// claimColumns is what a worker needs to send, but for the webhook itself, of
// which it names the version; p, w and e are pending_deliveries, webhooks and
// events.
const claimColumns = `p.delivery_id, p.webhook_id, p.tenant_id, p.event_id, p.event_type, p.kind, p.attempts, p.budget,
	w.timeout_ms, w.xmin::text AS xmin,
	CASE WHEN p.lease_until IS NOT NULL THEN e.body ELSE '' END AS body, e.traceparent`

// leaseMillis is how long a lease on a delivery to w lasts: the timeout and
// LeaseMargin.
const leaseMillis = `(w.timeout_ms + 10000)`

// leaseOver is true of a lease that has ended. A server that has just come back
// leaves a moment to those who waited for it with their outcomes: their leases may
// have ended while nobody could record.
const leaseOver = `(lease_until < now() AND now() > pg_postmaster_start_time() + interval '5 seconds')`

// claimDeliveries leases those of the given deliveries that are admitted, that
// no live lease holds, and whose lane is open and not quiet. Two claims of one
// delivery are harmless: the loser waits for the row, looks again and finds the
// winner's lease. Rows are locked in the order of their ids, as whoever closes
// lanes does it.
const claimDeliveries = `
WITH free AS MATERIALIZED (
	SELECT delivery_id FROM pending_deliveries
	WHERE delivery_id = ANY ($1::uuid[]) AND admitted AND (lease_until IS NULL OR ` + leaseOver + `) AND ` + mayBeSent + `
	ORDER BY delivery_id FOR UPDATE
), p AS (
	UPDATE pending_deliveries p
	SET lease_until = now() + ` + leaseMillis + ` * interval '1 millisecond', lease_holder = $2
	FROM free, webhooks w
	WHERE p.delivery_id = ANY ($1::uuid[]) AND p.delivery_id = free.delivery_id AND w.id = p.webhook_id
	RETURNING p.*
)
SELECT ` + claimColumns + `
FROM p JOIN webhooks w ON w.id = p.webhook_id JOIN events e ON e.id = p.event_id`

// Claim leases deliveries to holder, which must be unique to this call (I3).
// Those that are finished, not admitted, leased by another, or of a closed or quiet
// lane are left out.
func (s *Work) Claim(ctx context.Context, ids []webhook.DeliveryID, holder string) ([]webhook.Claim, error) {
	at := s.now()
	var rows []claimRow
	if err := s.stmts.selectAll(ctx, &rows, claimDeliveries, pq.Array(uuids(ids)), holder); err != nil {
		return nil, dbError("claiming deliveries", err)
	}
	return s.claims(ctx, rows, holder, at)
}

// claims completes rows with the webhooks they go to.
func (s *Work) claims(ctx context.Context, rows []claimRow, holder string, at time.Time) ([]webhook.Claim, error) {
	wanted := make(map[version]bool, len(rows))
	for _, row := range rows {
		wanted[version{row.WebhookID, row.Xmin}] = true
	}
	dests := s.dests.of(ctx, wanted)
	claims := make([]webhook.Claim, 0, len(rows))
	for _, row := range rows {
		claim, err := row.claim(dests[row.WebhookID], holder, at)
		if err != nil {
			return nil, fmt.Errorf("reading claimed delivery %s: %w", row.DeliveryID, err)
		}
		claims = append(claims, claim)
	}
	return claims, nil
}

const releaseDeliveries = `
UPDATE pending_deliveries SET lease_until = NULL, lease_holder = NULL, rung_at = now()
WHERE delivery_id = ANY ($1::uuid[]) AND lease_holder = ANY ($2::text[])`

// Release gives up leases whose request was never made, so that another worker
// can claim at once (I9).
func (s *Work) Release(ctx context.Context, claims []webhook.Claim) error {
	ids, holders := make([]webhook.DeliveryID, len(claims)), make([]string, len(claims))
	for i, c := range claims {
		ids[i], holders[i] = c.Delivery, c.Holder
	}
	_, err := s.db.ExecContext(ctx, releaseDeliveries, pq.Array(uuids(ids)), pq.Array(holders))
	return dbError("releasing leases", err)
}

// extendLeases locks in the order of a claim. It needs no other table: whoever may
// claim finds this one in use, whatever keeps outcomes from being recorded.
const extendLeases = `
WITH held AS MATERIALIZED (
	SELECT p.delivery_id, c.seconds
	FROM pending_deliveries p JOIN unnest($1::uuid[], $2::text[], $3::float8[]) AS c (id, holder, seconds) ON c.id = p.delivery_id AND c.holder = p.lease_holder
	WHERE p.delivery_id = ANY ($1::uuid[])
	ORDER BY p.delivery_id FOR UPDATE OF p
)
UPDATE pending_deliveries p SET lease_until = greatest(p.lease_until, now() + held.seconds * interval '1 second')
FROM held WHERE p.delivery_id = ANY ($1::uuid[]) AND p.delivery_id = held.delivery_id`

// Extend lets leases that are still held, ended or not, last as long from now as
// they did from their claims: for those whose request was made and cannot be
// recorded yet.
func (s *Work) Extend(ctx context.Context, claims []webhook.Claim) error {
	ids, holders, seconds := make([]webhook.DeliveryID, len(claims)), make([]string, len(claims)), make([]float64, len(claims))
	for i, c := range claims {
		ids[i], holders[i], seconds[i] = c.Delivery, c.Holder, c.Lease.Seconds()
	}
	_, err := s.db.ExecContext(ctx, extendLeases, pq.Array(uuids(ids)), pq.Array(holders), pq.Array(seconds))
	return dbError("extending leases", err)
}

const releaseHeld = `
WITH lane AS MATERIALIZED (
	SELECT webhook_id FROM pending_deliveries WHERE delivery_id = ANY ($1::uuid[])
	UNION SELECT * FROM unnest($2::uuid[])
), p AS (
	UPDATE pending_deliveries SET lease_until = NULL, lease_holder = NULL, rung_at = now()
	WHERE delivery_id = ANY ($1::uuid[] || ARRAY(
		SELECT p.delivery_id FROM lanes l CROSS JOIN LATERAL (` + admittedOf + `) p
		WHERE l.webhook_id = ANY (ARRAY(SELECT webhook_id FROM lane))
	)) AND admitted AND lease_holder = ANY ($3::text[])
	RETURNING *
)
SELECT delivery_id, webhook_id, tenant_id, event_id, event_type, kind, attempts, budget FROM p`

// ReleaseHeld gives up the leases of a doubt, and returns whom to ring for.
func (s *Work) ReleaseHeld(ctx context.Context, d webhook.Doubt) ([]webhook.Owed, error) {
	var rows []claimRow
	err := s.stmts.selectAll(ctx, &rows, releaseHeld, pq.Array(uuids(d.Deliveries)), pq.Array(webhookUUIDs(d.Webhooks)), pq.Array(d.Holders))
	if err != nil {
		return nil, dbError("releasing leases in doubt", err)
	}
	released := make([]webhook.Owed, len(rows))
	for i, row := range rows {
		if released[i], err = row.owed(); err != nil {
			return nil, fmt.Errorf("reading released delivery %s: %w", row.DeliveryID, err)
		}
	}
	return released, nil
}

type claimRow struct {
	DeliveryID  string `db:"delivery_id"`
	WebhookID   string `db:"webhook_id"`
	TenantID    string `db:"tenant_id"`
	EventID     string `db:"event_id"`
	EventType   string `db:"event_type"`
	Kind        string `db:"kind"`
	Attempts    int    `db:"attempts"`
	Budget      int    `db:"budget"`
	TimeoutMs   int    `db:"timeout_ms"`
	Xmin        string `db:"xmin"`
	Body        string `db:"body"`
	TraceParent string `db:"traceparent"`
}

func (r claimRow) owed() (webhook.Owed, error) {
	delivery, err := webhook.DeliveryIDFromUUID(r.DeliveryID)
	if err != nil {
		return webhook.Owed{}, err
	}
	hook, err := webhook.WebhookIDFromUUID(r.WebhookID)
	if err != nil {
		return webhook.Owed{}, err
	}
	return webhook.Owed{
		Delivery: delivery, Webhook: hook, Tenant: webhook.TenantID(r.TenantID),
		EventType: r.EventType, Kind: webhook.DeliveryKind(r.Kind), Attempt: r.Attempts + 1,
	}, nil
}

func (r claimRow) claim(d destination, holder string, at time.Time) (webhook.Claim, error) {
	owed, err := r.owed()
	if err != nil {
		return webhook.Claim{}, err
	}
	event, err := webhook.EventIDFromUUID(r.EventID)
	if err != nil {
		return webhook.Claim{}, err
	}
	return webhook.Claim{
		Owed: owed, Event: event, LastAttempt: r.Budget,
		Holder: holder, ClaimedAt: at, Lease: time.Duration(r.TimeoutMs)*time.Millisecond + LeaseMargin,
		Body: r.Body, TraceParent: r.TraceParent,
		URL: d.url, Headers: d.headers, Secrets: d.secrets, Policy: d.policy, Fault: d.fault,
	}, nil
}

func uuids(ids []webhook.DeliveryID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.UUID()
	}
	return out
}

func webhookUUIDs(ids []webhook.WebhookID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.UUID()
	}
	return out
}
