package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// A notice is written with the fact that it tells, by the same statement or in
// the same transaction, and becomes an event in another one: accepting locks
// lanes, and whoever makes a fact holds some already. Neither step can be lost,
// nor be done twice.
const (
	// exhausted are the reasons of deliveries whose budget is used up.
	exhausted = `('attempts_exhausted', 'blocked_address')`

	// heard asks of a notice n whether anybody would get it.
	heard = `EXISTS (SELECT FROM subscriptions s
	WHERE s.tenant_id = n.tenant_id AND s.pattern IN (n.type, split_part(n.type, '.', 1) || '.*') AND s.webhook_id <> n.webhook_id)`

	// news is what there is to tell of a locked lane l after the attempts f. An hour
	// is webhook.FailingInEarnest.
	news = `
		l.tenant_id, l.told_at, l.failing_since AS former_since, l.failures AS former_failures,
		CASE WHEN NOT l.open THEN NULL
			WHEN f.succeeded THEN CASE WHEN l.told_at IS NOT NULL THEN 'webhook.recovered' END
			WHEN f.failed AND (l.told_at >= l.failing_since) IS NOT TRUE
				AND (f.exhausted OR now() - l.failing_since >= interval '1 hour') THEN 'webhook.failing'
		END AS news`

	// toldState is the laneState of a lane l of which there are news. Clocks of
	// transactions may be out of step with their locks.
	toldState = `l.quiet_until, l.eased, l.failing_since, l.failed_at, l.failures, CASE l.news
			WHEN 'webhook.failing' THEN greatest(now(), l.failing_since) WHEN 'webhook.recovered' THEN NULL ELSE l.told_at
		END AS told_at`

	// noticeNews writes the notices of recorded outcomes.
	noticeNews = `, notice AS (
	INSERT INTO notices (tenant_id, type, webhook_id, failing_since, failures,
		delivery_id, event_id, event_type, failure_reason, attempt_count, response_status, last_error)
	SELECT n.* FROM (
		SELECT tenant_id, 'delivery.exhausted' AS type, webhook_id, NULL::timestamptz, 0,
			id, event_id, event_type, reason, number, nullif(response_status, 0), nullif(error, '')
		FROM settled
		WHERE kind = 'event' AND reason IN ` + exhausted + ` AND event_type NOT LIKE 'webhook.%' AND event_type NOT LIKE 'delivery.%'
		UNION ALL
		SELECT tenant_id, news, webhook_id,
			CASE news WHEN 'webhook.recovered' THEN former_since ELSE failing_since END,
			CASE news WHEN 'webhook.recovered' THEN former_failures ELSE failures END,
			NULL, NULL, NULL, NULL, NULL, NULL, NULL
		FROM settled_lane WHERE news IS NOT NULL
	) n WHERE ` + heard + `
)`

	noticeDisabled = `
INSERT INTO notices (tenant_id, type, webhook_id, reason, failing_since, failures)
SELECT tenant_id, type, webhook_id, $2, failing_since, failures FROM (
	SELECT tenant_id, 'webhook.disabled' AS type, webhook_id, failing_since, failures FROM lanes WHERE webhook_id = ANY ($1::uuid[])
) n WHERE ` + heard

	// notAboutItself keeps events that are made of notices from webhooks s that they
	// are about.
	notAboutItself = `
		WHERE NOT EXISTS (SELECT FROM notices n WHERE n.id = e.id AND n.webhook_id = s.webhook_id)`

	selectNotices = `
SELECT n.id, n.tenant_id, n.type, n.webhook_id, coalesce(w.name, '') AS name, n.at, n.reason, n.failing_since, n.failures,
	n.delivery_id, n.event_id, coalesce(n.event_type, '') AS event_type, coalesce(n.failure_reason, '') AS failure_reason,
	coalesce(n.attempt_count, 0) AS attempt_count, coalesce(n.response_status, 0) AS response_status,
	coalesce(n.last_error, '') AS last_error
FROM notices n LEFT JOIN webhooks w ON w.id = n.webhook_id
WHERE n.tenant_id = $1
ORDER BY n.id LIMIT $2 FOR UPDATE OF n SKIP LOCKED`

	deleteNotices = `DELETE FROM notices WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`

	// tenantsWithNotices goes from tenant to tenant, however many notices each has.
	tenantsWithNotices = `
WITH RECURSIVE t AS (
	(SELECT tenant_id FROM notices WHERE tenant_id > $1 ORDER BY tenant_id LIMIT 1)
	UNION ALL
	SELECT (SELECT n.tenant_id FROM notices n WHERE n.tenant_id > t.tenant_id ORDER BY n.tenant_id LIMIT 1)
	FROM t WHERE t.tenant_id IS NOT NULL
)
SELECT tenant_id FROM t WHERE tenant_id IS NOT NULL LIMIT $2`
)

// WithNotices returns at most limit tenants to call Announce for, in order, those
// after the given one.
func (r *Relay) WithNotices(ctx context.Context, after webhook.TenantID, limit int) (tenants []webhook.TenantID, err error) {
	err = r.db.SelectContext(ctx, &tenants, tenantsWithNotices, after, limit)
	return tenants, dbError("finding tenants with notices", err)
}

// Announce makes events of a tenant's oldest notices, limit at most, and returns
// how many and what to ring for; window is the api's.
func (r *Relay) Announce(ctx context.Context, tenant webhook.TenantID, window, limit int) (announced int, owed []webhook.Owed, err error) {
	insert, err := r.stmts.get(ctx, acceptNotices)
	if err != nil {
		return 0, nil, err
	}
	err = inTx(ctx, r.db, func(tx *sqlx.Tx) error {
		var rows []noticeRow
		if err := tx.SelectContext(ctx, &rows, selectNotices, tenant, limit); err != nil || len(rows) == 0 {
			return dbError("reading notices", err)
		}
		ids, events := make([]string, len(rows)), make([]submitted, len(rows))
		for i, row := range rows {
			event, err := row.event()
			if err != nil {
				return err
			}
			ids[i], events[i] = row.ID, submitted{SubmittedEvent: webhook.SubmittedEvent{Event: event}, index: i}
		}
		announced = len(rows)
		receipts := []webhook.Receipt{{Events: make([]webhook.AcceptedEvent, len(rows))}}
		if owed, err = insertEvents(ctx, tx.StmtxContext(ctx, insert), window, events, receipts); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, deleteNotices, tenant, pq.Array(ids))
		return dbError("deleting notices", err)
	})
	if err != nil {
		return 0, nil, err
	}
	return announced, owed, nil
}

type noticeRow struct {
	ID             string     `db:"id"`
	TenantID       string     `db:"tenant_id"`
	Type           string     `db:"type"`
	WebhookID      string     `db:"webhook_id"`
	Name           string     `db:"name"`
	At             time.Time  `db:"at"`
	Reason         string     `db:"reason"`
	FailingSince   *time.Time `db:"failing_since"`
	Failures       int        `db:"failures"`
	DeliveryID     *string    `db:"delivery_id"`
	EventID        *string    `db:"event_id"`
	EventType      string     `db:"event_type"`
	FailureReason  string     `db:"failure_reason"`
	AttemptCount   int        `db:"attempt_count"`
	ResponseStatus int        `db:"response_status"`
	LastError      string     `db:"last_error"`
}

func (r noticeRow) event() (webhook.Event, error) {
	n := webhook.Notice{
		Tenant: webhook.TenantID(r.TenantID), At: r.At, WebhookName: r.Name, Reason: r.Reason,
		Failing: webhook.Failing{Deliveries: r.Failures},
	}
	if r.FailingSince != nil {
		n.Failing.Since = *r.FailingSince
	}
	var faults [4]error
	n.ID, faults[0] = webhook.EventIDFromUUID(r.ID)
	n.Type, faults[1] = webhook.ParseEventType(r.Type)
	n.Webhook, faults[2] = webhook.WebhookIDFromUUID(r.WebhookID)
	if r.DeliveryID != nil && r.EventID != nil {
		n.Delivery, faults[3] = r.delivery()
	}
	if err := errors.Join(faults[:]...); err != nil {
		return webhook.Event{}, err
	}
	return n.Event()
}

func (r noticeRow) delivery() (d webhook.Delivery, err error) {
	d = webhook.Delivery{
		FailureReason: webhook.FailureReason(r.FailureReason), AttemptCount: r.AttemptCount,
		ResponseStatus: r.ResponseStatus, LastError: r.LastError,
	}
	var faults [3]error
	d.ID, faults[0] = webhook.DeliveryIDFromUUID(*r.DeliveryID)
	d.EventID, faults[1] = webhook.EventIDFromUUID(*r.EventID)
	d.EventType, faults[2] = webhook.ParseEventType(r.EventType)
	return d, errors.Join(faults[:]...)
}
