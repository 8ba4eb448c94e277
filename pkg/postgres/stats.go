package postgres

import (
	"context"
	"database/sql"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// countStats counts and times a tenant's event deliveries, of one webhook ($2)
// or of all; found says whether that webhook exists.
const countStats = `
SELECT count(*) AS total,
	count(*) FILTER (WHERE d.status = 'pending') AS pending,
	count(*) FILTER (WHERE d.status = 'retrying') AS retrying,
	count(*) FILTER (WHERE d.status = 'success') AS succeeded,
	count(*) FILTER (WHERE d.status = 'failed') AS failed,
	(avg(d.last_duration_ms) FILTER (WHERE d.completed_at IS NOT NULL))::float8 AS average_ms,
	percentile_cont(0.95) WITHIN GROUP (ORDER BY d.last_duration_ms) FILTER (WHERE d.completed_at IS NOT NULL) AS p95_ms,
	$2::uuid IS NULL OR EXISTS (
		SELECT FROM webhooks w WHERE w.tenant_id = $1 AND w.id = $2 AND w.deleted_at IS NULL) AS found
FROM deliveries d
WHERE d.tenant_id = $1 AND ($2::uuid IS NULL OR d.webhook_id = $2) AND d.id > $3 AND d.id < $4 AND d.kind = 'event'`

type statsRow struct {
	Total     int             `db:"total"`
	Pending   int             `db:"pending"`
	Retrying  int             `db:"retrying"`
	Succeeded int             `db:"succeeded"`
	Failed    int             `db:"failed"`
	AverageMs sql.NullFloat64 `db:"average_ms"`
	P95Ms     sql.NullFloat64 `db:"p95_ms"`
	Found     bool            `db:"found"`
}

// Stats counts the deliveries created in a period, of one webhook (NotFound when
// there is none) or of the whole tenant. Test sends do not count. Durations are
// those of the last attempts of finished deliveries.
func (s *Deliveries) Stats(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, p webhook.Period) (webhook.Stats, error) {
	var id any
	if hook != nil {
		id = hook.UUID()
	}
	within := createdWithin(p.Since, p.Until)
	var row statsRow
	if err := s.db.GetContext(ctx, &row, countStats, tenant, id, within.low, within.high); err != nil {
		return webhook.Stats{}, dbError("counting deliveries", err)
	}
	if !row.Found {
		return webhook.Stats{}, webhook.NotFound("webhook")
	}
	return webhook.Stats{
		Total: row.Total, Pending: row.Pending, Retrying: row.Retrying, Succeeded: row.Succeeded, Failed: row.Failed,
		AverageDuration: millis(row.AverageMs), P95Duration: millis(row.P95Ms),
	}, nil
}

func millis(ms sql.NullFloat64) *time.Duration {
	if !ms.Valid {
		return nil
	}
	d := time.Duration(ms.Float64 * float64(time.Millisecond))
	return &d
}
