package postgres

import (
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Statistics read every delivery of their period: no index holds what an attempt
// changes. They are made to do it once, however many webhooks are asked for, in
// parallel, and without sorting: durations are counted by value, rounded up by
// less than 1 %, so that few values remain.
const (
	countByOutcome = `
	d.status, CASE WHEN d.completed_at IS NOT NULL THEN CASE
		WHEN d.last_duration_ms < 256 THEN d.last_duration_ms
		WHEN d.last_duration_ms < 512 THEN d.last_duration_ms | 1
		WHEN d.last_duration_ms < 1024 THEN d.last_duration_ms | 3
		WHEN d.last_duration_ms < 2048 THEN d.last_duration_ms | 7
		WHEN d.last_duration_ms < 4096 THEN d.last_duration_ms | 15
		WHEN d.last_duration_ms < 8192 THEN d.last_duration_ms | 31
		WHEN d.last_duration_ms < 16384 THEN d.last_duration_ms | 63
		ELSE d.last_duration_ms | 127 END END AS within,
	count(*) AS n, sum(d.last_duration_ms) AS ms
FROM deliveries d
WHERE d.tenant_id = $1 AND d.id > $2 AND d.id < $3 AND d.kind = 'event'`

	sumOutcomes = `
SELECT webhook_id, sum(n) AS total,
	coalesce(sum(n) FILTER (WHERE status = 'pending'), 0) AS pending,
	coalesce(sum(n) FILTER (WHERE status = 'retrying'), 0) AS retrying,
	coalesce(sum(n) FILTER (WHERE status = 'success'), 0) AS succeeded,
	coalesce(sum(n) FILTER (WHERE status = 'failed'), 0) AS failed,
	(sum(ms) FILTER (WHERE within IS NOT NULL) / sum(n) FILTER (WHERE within IS NOT NULL))::float8 AS average_ms,
	min(within) FILTER (WHERE upto >= 0.95 * timed)::float8 AS p95_ms
FROM (
	SELECT *,
		sum(n) FILTER (WHERE within IS NOT NULL) OVER (PARTITION BY webhook_id ORDER BY within) AS upto,
		sum(n) FILTER (WHERE within IS NOT NULL) OVER (PARTITION BY webhook_id) AS timed
	FROM counted) ranked
GROUP BY webhook_id`

	tenantStats  = `WITH counted AS (SELECT NULL::uuid AS webhook_id, ` + countByOutcome + ` GROUP BY 2, 3)` + sumOutcomes
	webhookStats = `WITH counted AS (SELECT d.webhook_id, ` + countByOutcome + ` AND d.webhook_id = ANY ($4::uuid[]) GROUP BY 1, 2, 3)` + sumOutcomes

	isWebhook = `SELECT EXISTS (SELECT FROM webhooks w WHERE w.tenant_id = $1 AND w.id = $2 AND w.deleted_at IS NULL)`
)

type statsRow struct {
	WebhookID sql.NullString  `db:"webhook_id"`
	Total     int             `db:"total"`
	Pending   int             `db:"pending"`
	Retrying  int             `db:"retrying"`
	Succeeded int             `db:"succeeded"`
	Failed    int             `db:"failed"`
	AverageMs sql.NullFloat64 `db:"average_ms"`
	P95Ms     sql.NullFloat64 `db:"p95_ms"`
}

// Stats counts the deliveries created in a period, of one webhook (NotFound when
// there is none) or of the whole tenant. Test sends do not count. Durations are
// those of the last attempts of finished deliveries; the 95th percentile is
// rounded up by less than 1 %.
func (s *Deliveries) Stats(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, p webhook.Period) (webhook.Stats, error) {
	if hook == nil {
		rows, err := s.stats(ctx, tenantStats, tenant, p)
		if err != nil || len(rows) == 0 {
			return webhook.Stats{}, err
		}
		return rows[0].stats(), nil
	}
	// Looked at first: what another tenant's webhook has must not be read at all,
	// or the time it takes would tell how much that is.
	if found, err := s.exists(ctx, isWebhook, tenant, *hook); err != nil || !found {
		return webhook.Stats{}, orNotFound(err)
	}
	all, err := s.StatsByWebhook(ctx, tenant, []webhook.WebhookID{*hook}, p)
	return all[*hook], err
}

// StatsByWebhook does so for several webhooks of a tenant at the cost of one. One
// that has no deliveries, or is not the tenant's, is left out.
func (s *Deliveries) StatsByWebhook(ctx context.Context, tenant webhook.TenantID, hooks []webhook.WebhookID, p webhook.Period) (map[webhook.WebhookID]webhook.Stats, error) {
	rows, err := s.stats(ctx, webhookStats, tenant, p, pq.Array(webhookUUIDs(hooks)))
	if err != nil {
		return nil, err
	}
	out := make(map[webhook.WebhookID]webhook.Stats, len(rows))
	for _, row := range rows {
		id, err := webhook.WebhookIDFromUUID(row.WebhookID.String)
		if err != nil {
			return nil, err
		}
		out[id] = row.stats()
	}
	return out, nil
}

func (s *Deliveries) stats(ctx context.Context, query string, tenant webhook.TenantID, p webhook.Period, more ...any) (rows []statsRow, err error) {
	within := createdWithin(p.Since, p.Until)
	err = s.db.SelectContext(ctx, &rows, query, with([]any{tenant, within.low, within.high}, more...)...)
	return rows, dbError("counting deliveries", err)
}

func (r statsRow) stats() webhook.Stats {
	return webhook.Stats{
		Total: r.Total, Pending: r.Pending, Retrying: r.Retrying, Succeeded: r.Succeeded, Failed: r.Failed,
		AverageDuration: millis(r.AverageMs), P95Duration: millis(r.P95Ms),
	}
}

func millis(ms sql.NullFloat64) *time.Duration {
	if !ms.Valid {
		return nil
	}
	d := time.Duration(ms.Float64 * float64(time.Millisecond))
	return &d
}

func (s *Deliveries) exists(ctx context.Context, query string, tenant webhook.TenantID, hook webhook.WebhookID) (found bool, err error) {
	err = sqlx.GetContext(ctx, s.db, &found, query, tenant, hook.UUID())
	return found, dbError("loading webhook", err)
}

func orNotFound(err error) error {
	if err != nil {
		return err
	}
	return webhook.NotFound("webhook")
}

// countUpTo reads an index only, and no more of it than is asked for.
const countUpTo = `SELECT count(*) FROM (SELECT FROM deliveries d WHERE d.tenant_id = $1 LIMIT $2) AS few`

// Size returns how many deliveries of a tenant are kept, but not more than most:
// what reading all of them would cost, at a small part of that cost.
func (s *Deliveries) Size(ctx context.Context, tenant webhook.TenantID, most int) (n int, err error) {
	err = s.db.GetContext(ctx, &n, countUpTo, tenant, most)
	return n, dbError("counting deliveries", err)
}
