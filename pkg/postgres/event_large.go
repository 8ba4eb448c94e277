package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// A submission of 1,000 events for 100 webhooks owes 100,000 deliveries; storing
// them takes seconds. AcceptLarge therefore does the bulk of it without any lock:
// what lies beyond the window cannot be admitted whatever a lane looks like. The
// rest, a window per webhook, is written at the end, under the lanes' locks.
// Nobody sees any of it before the commit, so lanes count right all the same.

// storeUnadmitted is that bulk. It returns how many deliveries each event owes
// (n), and each webhook is owed: their number, and those within the window ($8).
const storeUnadmitted = storeEvents + `, hook AS MATERIALIZED (
	SELECT id, max_attempts FROM webhooks WHERE id = ANY (ARRAY(SELECT DISTINCT webhook_id FROM matched))
), owed AS MATERIALIZED (
	SELECT m.n, m.place, delivery_id(e.id, m.webhook_id) AS id, e.id AS event_id, e.tenant_id, e.type, m.webhook_id, w.max_attempts
	FROM matched m
	JOIN hook w ON w.id = m.webhook_id
	JOIN event e ON e.n = m.n
	ORDER BY id
), delivery AS (
	INSERT INTO deliveries (id, tenant_id, webhook_id, event_id, event_type, max_attempts, next_attempt_at)
	SELECT id, tenant_id, webhook_id, event_id, type, max_attempts, now() FROM owed
), pending AS (
	INSERT INTO pending_deliveries (delivery_id, webhook_id, tenant_id, event_id, event_type, budget, admitted)
	SELECT id, webhook_id, tenant_id, event_id, type, max_attempts, false FROM owed WHERE place > $8
)
SELECT n, '' AS webhook_id, count(*) AS owed, NULL::uuid[] AS first FROM owed GROUP BY n
UNION ALL
SELECT 0, webhook_id::text, count(*), array_agg(id ORDER BY place) FILTER (WHERE place <= $8) FROM owed GROUP BY webhook_id`

// LongestAccept is for machines that are slow or busy; the caller bounds it all.
// The pool has to know.
const (
	LongestAccept = 60 * time.Second
	allowLong     = `SET LOCAL statement_timeout = '60s'`
)

// lockLiveLanes is a statement of its own: the next one sees what it waited for.
const lockLiveLanes = `SELECT webhook_id FROM lanes WHERE webhook_id = ANY ($1::uuid[]) AND NOT deleted ORDER BY webhook_id FOR UPDATE`

// admitFirst writes the deliveries within the window ($3), admits while slots
// are free, and counts everything in. $1 and $2: webhooks and what each is owed.
const admitFirst = `
WITH slots AS MATERIALIZED (
	SELECT webhook_id, least($4, ` + mostOf + `) - admitted AS free FROM lanes l WHERE webhook_id = ANY ($1::uuid[]) AND ` + admitsNew + `
), first AS MATERIALIZED (
	SELECT c.place, d.id, d.webhook_id, d.tenant_id, d.event_id, d.event_type, d.max_attempts,
		row_number() OVER (PARTITION BY d.webhook_id ORDER BY c.place) <= coalesce(s.free, 0) AS admitted
	FROM unnest($3::uuid[]) WITH ORDINALITY AS c (id, place)
	JOIN deliveries d ON d.id = c.id
	LEFT JOIN slots s ON s.webhook_id = d.webhook_id
), pending AS (
	INSERT INTO pending_deliveries (delivery_id, webhook_id, tenant_id, event_id, event_type, budget, admitted)
	SELECT id, webhook_id, tenant_id, event_id, event_type, max_attempts, admitted FROM first ORDER BY id
), counted AS (
	UPDATE lanes SET admitted = lanes.admitted + o.admitted, queued = lanes.queued + o.owed - o.admitted
	FROM (
		SELECT t.webhook_id, t.owed, coalesce(f.admitted, 0) AS admitted
		FROM unnest($1::uuid[], $2::bigint[]) AS t (webhook_id, owed)
		LEFT JOIN (SELECT webhook_id, count(*) AS admitted FROM first WHERE admitted GROUP BY webhook_id) f USING (webhook_id)
	) o
	WHERE lanes.webhook_id = o.webhook_id
)
SELECT id, webhook_id, tenant_id, event_type FROM first WHERE admitted ORDER BY place`

// AcceptLarge is Accept for one submission that owes many deliveries. It is as
// atomic, and as fast; but it keeps the locks of lanes and idempotency keys for
// an instant only, so that neither workers nor other submissions wait for it.
// ctx must have a deadline.
func (s *Events) AcceptLarge(ctx context.Context, sub webhook.Submission) (webhook.Receipt, []webhook.Owed, error) {
	for crossed := 0; ; {
		receipt, owed, err := s.acceptLarge(ctx, sub)
		switch {
		case errors.Is(err, errRaced):
		case isCrossed(err) && crossed < crossings:
			crossed++
		default:
			return receipt, owed, err
		}
	}
}

func (s *Events) acceptLarge(ctx context.Context, sub webhook.Submission) (webhook.Receipt, []webhook.Owed, error) {
	batch, receipts := []webhook.Submission{sub}, make([]webhook.Receipt, 1)
	var owed []webhook.Owed
	store, err := s.stmts.get(ctx, storeUnadmitted)
	if err != nil {
		return webhook.Receipt{}, nil, err
	}
	admit, err := s.stmts.get(ctx, admitFirst)
	if err != nil {
		return webhook.Receipt{}, nil, err
	}
	err = inTx(ctx, s.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, allowLong); err != nil {
			return dbError("allowing time", err)
		}
		known, err := lookUpKeys(ctx, tx, batch)
		if err != nil {
			return err
		}
		fresh := prepare(batch, receipts, known)
		if len(fresh) == 0 {
			return nil
		}
		stored, err := s.storeUnadmitted(ctx, tx.StmtxContext(ctx, store), fresh, receipts)
		if err != nil {
			return err
		}
		if err := claimKeys(ctx, tx, fresh); err != nil {
			return err
		}
		owed, err = s.admitFirst(ctx, tx, tx.StmtxContext(ctx, admit), stored)
		return err
	})
	return receipts[0], owed, err
}

type unadmittedRow struct {
	N       int            `db:"n"`          // 0: a webhook's row
	Webhook string         `db:"webhook_id"` // empty: an event's row
	Owed    int            `db:"owed"`
	First   pq.StringArray `db:"first"`
}

// unadmitted is what webhooks are owed by a large submission.
type unadmitted struct {
	hooks []string
	owed  []int
	first []string // deliveries within the window
}

// storeUnadmitted completes receipts, too.
func (s *Events) storeUnadmitted(ctx context.Context, stmt *sqlx.Stmt, fresh []submitted, receipts []webhook.Receipt) (u unadmitted, err error) {
	var rows []unadmittedRow
	if err := stmt.SelectContext(ctx, &rows, acceptArgs(fresh, s.window)...); err != nil {
		return unadmitted{}, dbError("storing many events", err)
	}
	for _, row := range rows {
		if row.N > 0 {
			e := fresh[row.N-1]
			receipts[e.submission].Events[e.index].Deliveries = row.Owed
			continue
		}
		u.hooks, u.owed, u.first = append(u.hooks, row.Webhook), append(u.owed, row.Owed), append(u.first, row.First...)
	}
	return u, nil
}

type admittedRow struct {
	ID        string `db:"id"`
	WebhookID string `db:"webhook_id"`
	TenantID  string `db:"tenant_id"`
	EventType string `db:"event_type"`
}

// admitFirst returns errRaced when a webhook was deleted since events were
// matched: nobody would ever finish what is stored for it.
func (s *Events) admitFirst(ctx context.Context, tx *sqlx.Tx, stmt *sqlx.Stmt, u unadmitted) ([]webhook.Owed, error) {
	var live []string
	if err := tx.SelectContext(ctx, &live, lockLiveLanes, pq.Array(u.hooks)); err != nil {
		return nil, dbError("locking lanes", err)
	}
	if len(live) != len(u.hooks) {
		return nil, errRaced
	}
	var rows []admittedRow
	if err := stmt.SelectContext(ctx, &rows, pq.Array(u.hooks), pq.Array(u.owed), pq.Array(u.first), s.window); err != nil {
		return nil, dbError("admitting deliveries", err)
	}
	owed := make([]webhook.Owed, len(rows))
	for i, row := range rows {
		var err error
		if owed[i], err = newOwed(row.ID, row.WebhookID, webhook.TenantID(row.TenantID), row.EventType); err != nil {
			return nil, err
		}
	}
	return owed, nil
}
