package postgres

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Deliveries reads the log of deliveries, and retries them.
//
// Its statements are not prepared: planned with their values, they skip the
// conditions that a filter leaves out and the partitions outside its times.
type Deliveries struct {
	db     *sqlx.DB // not a HotPath pool
	window int
}

// NewDeliveries makes a store that keeps at most window deliveries per webhook
// admitted.
func NewDeliveries(db *sqlx.DB, window int) *Deliveries { return &Deliveries{db: db, window: window} }

const (
	deliveryColumns = `d.id, d.tenant_id, d.webhook_id, d.event_id, d.event_type, d.kind, d.status, d.failure_reason,
	d.attempt_count, d.max_attempts, d.next_attempt_at, d.response_status, d.last_error, d.completed_at`

	selectDelivery = `SELECT ` + deliveryColumns + ` FROM deliveries d WHERE d.tenant_id = $1 AND d.id = $2`

	// ofDeliveryFilter is the end of every listing: tenant, then the filter's
	// webhook, event, statuses and event types; NULL is no condition.
	ofDeliveryFilter = ` FROM deliveries d WHERE d.tenant_id = $1
	AND ($2::uuid IS NULL OR d.webhook_id = $2)
	AND ($3::uuid IS NULL OR d.event_id = $3)
	AND ($4::text[] IS NULL OR d.status = ANY ($4))
	AND ($5::text[] IS NULL OR d.event_type = ANY ($5))`

	countDeliveries       = `SELECT count(*)` + ofDeliveryFilter + ` AND d.id > $6 AND d.id < $7`
	anyDeliveries         = `SELECT EXISTS (SELECT` + ofDeliveryFilter + ` AND d.id >= $6 AND d.id <= $7)`
	selectDeliveries      = `SELECT ` + deliveryColumns + ofDeliveryFilter + ` AND d.id > $6 AND d.id < $7 ORDER BY d.id DESC LIMIT $8`
	selectDeliveriesAscID = `SELECT ` + deliveryColumns + ofDeliveryFilter + ` AND d.id > $6 AND d.id < $7 ORDER BY d.id LIMIT $8`
)

// Get returns a delivery, or NotFound.
func (s *Deliveries) Get(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error) {
	return getDelivery(ctx, s.db, selectDelivery, tenant, id)
}

// List returns a page of the deliveries that pass the filter, newest first.
// Those of deleted webhooks and test sends are among them.
func (s *Deliveries) List(ctx context.Context, tenant webhook.TenantID, f webhook.DeliveryFilter, p webhook.Page[webhook.DeliveryID]) (webhook.Slice[webhook.Delivery], error) {
	if known, err := s.knows(ctx, tenant, f.Webhook); err != nil || !known {
		return webhook.Slice[webhook.Delivery]{}, err
	}
	args := deliveryFilterArgs(tenant, f)
	query := func(text string, within span, limit int) (rows []deliveryRow, err error) {
		err = s.db.SelectContext(ctx, &rows, text, with(args, within.low, within.high, limit)...)
		return rows, dbError("listing deliveries", err)
	}
	page, err := readPage(p, deliverySpan(f), pageReader[deliveryRow]{
		rows: func(within span, limit int, backward bool) ([]deliveryRow, error) {
			if backward {
				return query(selectDeliveriesAscID, within, limit)
			}
			first := newest(within)
			rows, err := query(selectDeliveries, first, limit)
			if err != nil || len(rows) == limit || first == within {
				return rows, err
			}
			older, err := query(selectDeliveries, span{within.low, first.low}, limit-len(rows))
			return append(rows, older...), err
		},
		any: func(within span) (found bool, err error) {
			err = s.db.GetContext(ctx, &found, anyDeliveries, with(args, within.low, within.high)...)
			return found, dbError("looking for more deliveries", err)
		},
	})
	if err != nil {
		return webhook.Slice[webhook.Delivery]{}, err
	}
	items, err := mapRows(page.Items, deliveryRow.delivery)
	return webhook.Slice[webhook.Delivery]{Items: items, HasNext: page.HasNext, HasPrevious: page.HasPrevious}, err
}

// Count returns how many deliveries pass the filter.
func (s *Deliveries) Count(ctx context.Context, tenant webhook.TenantID, f webhook.DeliveryFilter) (n int, err error) {
	if known, err := s.knows(ctx, tenant, f.Webhook); err != nil || !known {
		return 0, err
	}
	within := deliverySpan(f)
	err = s.db.GetContext(ctx, &n, countDeliveries, with(deliveryFilterArgs(tenant, f), within.low, within.high)...)
	return n, dbError("counting deliveries", err)
}

const wasWebhook = `SELECT EXISTS (SELECT FROM webhooks w WHERE w.tenant_id = $1 AND w.id = $2)`

// knows reports whether a webhook is or was the tenant's; true without any. What
// it is not asked about is not looked at: the time to pass over another tenant's
// deliveries would tell how many there are.
func (s *Deliveries) knows(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID) (bool, error) {
	if hook == nil {
		return true, nil
	}
	return s.exists(ctx, wasWebhook, tenant, *hook)
}

// deliverySpan turns the filter's times into ids. The deliveries of an event
// have its millisecond.
func deliverySpan(f webhook.DeliveryFilter) span {
	within := createdWithin(f.CreatedAfter, f.CreatedBefore)
	if f.Event != nil {
		at := f.Event.Time()
		within = within.narrowed(createdWithin(at, at.Add(time.Millisecond)))
	}
	return within
}

// newest returns the latest day of a span, where a page is looked for first: most
// are found there, which spares planning for every partition and reading each
// down to its first match. No index knows statuses, and failures are rare.
func newest(within span) span {
	end := time.Now() // a guess is enough: the rest is looked at when it was wrong
	if high, err := webhook.DeliveryIDFromUUID(within.high); err == nil && high.Time().Before(end) {
		end = high.Time()
	}
	return within.narrowed(span{floorUUID(end.Add(-24 * time.Hour)), highestUUID})
}

func deliveryFilterArgs(tenant webhook.TenantID, f webhook.DeliveryFilter) []any {
	var hook, event any
	if f.Webhook != nil {
		hook = f.Webhook.UUID()
	}
	if f.Event != nil {
		event = f.Event.UUID()
	}
	statuses := anyOf(f.Statuses, func(s webhook.DeliveryStatus) string { return string(s) })
	return []any{tenant, hook, event, statuses, anyOf(f.Events, webhook.EventType.String)}
}

// The ids are looked for in both tables so that each skips partitions. Lengths
// are known without reading what is long, and too much of it is not sent.
const selectAttempts = `
SELECT delivery_id, number, started_at, duration_ms, response_status, error_class, total > $3 AS too_large,
	CASE WHEN total <= $3 THEN error END AS error,
	CASE WHEN total <= $3 THEN request_headers END AS request_headers,
	CASE WHEN total <= $3 THEN response_headers END AS response_headers,
	CASE WHEN total <= $3 THEN response_body END AS response_body
FROM (
	SELECT a.delivery_id, a.number, a.started_at, a.duration_ms, a.response_status, a.error_class, a.error,
		a.request_headers, a.response_headers, a.response_body,
		sum(octet_length(a.request_headers) + octet_length(a.response_headers)
			+ coalesce(octet_length(a.response_body), 0) + coalesce(octet_length(a.error), 0)) OVER () AS total
	FROM deliveries d JOIN attempts a ON a.delivery_id = d.id
	WHERE d.tenant_id = $1 AND d.id = ANY ($2::uuid[]) AND a.delivery_id = ANY ($2::uuid[])) found
ORDER BY delivery_id, number`

// Attempts returns the attempts of deliveries, each delivery's by number. A
// delivery without any is left out. More than most bytes of texts are not loaded
// but a LimitExceeded error.
func (s *Deliveries) Attempts(ctx context.Context, tenant webhook.TenantID, ids []webhook.DeliveryID, most int) (map[webhook.DeliveryID][]webhook.Attempt, error) {
	var rows []attemptRow
	if err := s.db.SelectContext(ctx, &rows, selectAttempts, tenant, pq.Array(uuids(ids)), most); err != nil {
		return nil, dbError("loading attempts", err)
	}
	if len(rows) > 0 && rows[0].TooLarge {
		return nil, webhook.LimitExceeded("attempts", tooLarge)
	}
	out := make(map[webhook.DeliveryID][]webhook.Attempt, len(ids))
	for _, row := range rows {
		id, err := webhook.DeliveryIDFromUUID(row.DeliveryID)
		if err != nil {
			return nil, err
		}
		attempt, err := row.attempt()
		if err != nil {
			return nil, fmt.Errorf("reading attempt %d of %s: %w", row.Number, id, err)
		}
		out[id] = append(out[id], attempt)
	}
	return out, nil
}

// tooLarge is for callers who did not say which of them they want.
const tooLarge = "must be loaded in smaller parts"

const selectPayloads = `
SELECT id, CASE WHEN total <= $3 THEN body END AS body
FROM (
	SELECT id, body, sum(octet_length(body)) OVER () AS total
	FROM events WHERE tenant_id = $1 AND id = ANY ($2::uuid[])) found`

// Payloads returns the bodies of events: the bytes that receivers get (I8). More
// than most bytes are not loaded but a LimitExceeded error.
func (s *Deliveries) Payloads(ctx context.Context, tenant webhook.TenantID, ids []webhook.EventID, most int) (map[webhook.EventID]string, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.UUID()
	}
	var rows []struct {
		ID   string  `db:"id"`
		Body *string `db:"body"`
	}
	if err := s.db.SelectContext(ctx, &rows, selectPayloads, tenant, pq.Array(texts), most); err != nil {
		return nil, dbError("loading payloads", err)
	}
	out := make(map[webhook.EventID]string, len(rows))
	for _, row := range rows {
		id, err := webhook.EventIDFromUUID(row.ID)
		if err != nil {
			return nil, err
		}
		if row.Body == nil {
			return nil, webhook.LimitExceeded("payloads", tooLarge)
		}
		out[id] = *row.Body
	}
	return out, nil
}

func getDelivery(ctx context.Context, q querier, query string, tenant webhook.TenantID, id webhook.DeliveryID, more ...any) (webhook.Delivery, error) {
	var row deliveryRow
	err := q.GetContext(ctx, &row, query, with([]any{tenant, id.UUID()}, more...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return webhook.Delivery{}, webhook.NotFound("delivery")
	}
	if err != nil {
		return webhook.Delivery{}, dbError("loading delivery", err)
	}
	return row.delivery()
}

type deliveryRow struct {
	ID             string         `db:"id"`
	TenantID       string         `db:"tenant_id"`
	WebhookID      string         `db:"webhook_id"`
	EventID        string         `db:"event_id"`
	EventType      string         `db:"event_type"`
	Kind           string         `db:"kind"`
	Status         string         `db:"status"`
	FailureReason  sql.NullString `db:"failure_reason"`
	AttemptCount   int            `db:"attempt_count"`
	MaxAttempts    int            `db:"max_attempts"`
	NextAttemptAt  sql.NullTime   `db:"next_attempt_at"`
	ResponseStatus sql.NullInt32  `db:"response_status"`
	LastError      sql.NullString `db:"last_error"`
	CompletedAt    sql.NullTime   `db:"completed_at"`
}

func (r deliveryRow) delivery() (webhook.Delivery, error) {
	id, err := webhook.DeliveryIDFromUUID(r.ID)
	if err != nil {
		return webhook.Delivery{}, err
	}
	hook, err := webhook.WebhookIDFromUUID(r.WebhookID)
	if err != nil {
		return webhook.Delivery{}, err
	}
	event, err := webhook.EventIDFromUUID(r.EventID)
	if err != nil {
		return webhook.Delivery{}, err
	}
	eventType, err := webhook.ParseEventType(r.EventType)
	if err != nil {
		return webhook.Delivery{}, fmt.Errorf("reading delivery %s: %w", id, err)
	}
	return webhook.Delivery{
		ID: id, Tenant: webhook.TenantID(r.TenantID), WebhookID: hook, EventID: event, EventType: eventType,
		Kind: webhook.DeliveryKind(r.Kind), Status: webhook.DeliveryStatus(r.Status),
		FailureReason: webhook.FailureReason(r.FailureReason.String),
		AttemptCount:  r.AttemptCount, MaxAttempts: r.MaxAttempts, NextAttemptAt: utc(r.NextAttemptAt),
		ResponseStatus: int(r.ResponseStatus.Int32), LastError: r.LastError.String,
		CreatedAt: id.Time(), CompletedAt: utc(r.CompletedAt),
	}, nil
}

// utc returns the zero time for NULL.
func utc(t sql.NullTime) time.Time {
	if !t.Valid {
		return time.Time{}
	}
	return t.Time.UTC()
}

type attemptRow struct {
	DeliveryID      string         `db:"delivery_id"`
	Number          int            `db:"number"`
	StartedAt       time.Time      `db:"started_at"`
	DurationMs      int            `db:"duration_ms"`
	ResponseStatus  sql.NullInt32  `db:"response_status"`
	ErrorClass      sql.NullString `db:"error_class"`
	TooLarge        bool           `db:"too_large"`
	Error           sql.NullString `db:"error"`
	RequestHeaders  []byte         `db:"request_headers"`
	ResponseHeaders []byte         `db:"response_headers"`
	ResponseBody    sql.NullString `db:"response_body"`
}

func (r attemptRow) attempt() (webhook.Attempt, error) {
	a := webhook.Attempt{
		Number: r.Number, StartedAt: r.StartedAt.UTC(), Duration: time.Duration(r.DurationMs) * time.Millisecond,
		ResponseStatus: int(r.ResponseStatus.Int32), ErrorClass: webhook.ErrorClass(r.ErrorClass.String),
		Error: r.Error.String, ResponseBody: r.ResponseBody.String,
	}
	if err := json.Unmarshal(r.RequestHeaders, &a.RequestHeaders); err != nil {
		return webhook.Attempt{}, fmt.Errorf("request headers: %w", err)
	}
	if err := json.Unmarshal(r.ResponseHeaders, &a.ResponseHeaders); err != nil {
		return webhook.Attempt{}, fmt.Errorf("response headers: %w", err)
	}
	return a, nil
}
