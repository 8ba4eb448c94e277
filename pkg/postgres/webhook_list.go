package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	webhookColumns = `w.id, w.tenant_id, w.name, w.description, w.url, w.events, w.patterns, w.headers_sealed,
	w.status, w.status_reason, w.max_attempts, w.timeout_ms, w.initial_backoff_ms, w.api_version,
	w.created_by, w.created_at, w.updated_at`

	selectWebhook      = `SELECT ` + webhookColumns + ` FROM webhooks w WHERE w.tenant_id = $1 AND w.id = $2 AND w.deleted_at IS NULL`
	selectWebhooksByID = `SELECT ` + webhookColumns + ` FROM webhooks w WHERE w.tenant_id = $1 AND w.id = ANY ($2::uuid[]) AND w.deleted_at IS NULL`

	// ofWebhookFilter is the end of every listing: tenant, then the filter's
	// statuses, patterns that match its event, and text; NULL is no condition.
	ofWebhookFilter = ` FROM webhooks w WHERE w.tenant_id = $1 AND w.deleted_at IS NULL
	AND ($2::text[] IS NULL OR w.status = ANY ($2))
	AND ($3::text[] IS NULL OR EXISTS (
		SELECT FROM subscriptions s WHERE s.tenant_id = $1 AND s.pattern = ANY ($3) AND s.webhook_id = w.id))
	AND ($4::text IS NULL OR w.name ILIKE $4 OR w.description ILIKE $4 OR w.url ILIKE $4)`

	countWebhooks       = `SELECT count(*)` + ofWebhookFilter
	anyWebhooks         = `SELECT EXISTS (SELECT` + ofWebhookFilter + ` AND w.id >= $5 AND w.id <= $6)`
	selectWebhooks      = `SELECT ` + webhookColumns + ofWebhookFilter + ` AND w.id > $5 AND w.id < $6 ORDER BY w.id DESC LIMIT $7`
	selectWebhooksAscID = `SELECT ` + webhookColumns + ofWebhookFilter + ` AND w.id > $5 AND w.id < $6 ORDER BY w.id LIMIT $7`
)

// Get returns a webhook, or NotFound.
func (s *Webhooks) Get(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID) (webhook.Webhook, error) {
	return s.get(ctx, s.db, selectWebhook, tenant, id)
}

// ByID returns those of the webhooks that there are.
func (s *Webhooks) ByID(ctx context.Context, tenant webhook.TenantID, ids []webhook.WebhookID) (map[webhook.WebhookID]webhook.Webhook, error) {
	var rows []webhookRow
	if err := s.db.SelectContext(ctx, &rows, selectWebhooksByID, tenant, pq.Array(webhookUUIDs(ids))); err != nil {
		return nil, dbError("loading webhooks", err)
	}
	out := make(map[webhook.WebhookID]webhook.Webhook, len(rows))
	for _, row := range rows {
		w, err := row.webhook(s.keys)
		if err != nil {
			return nil, err
		}
		out[w.ID] = w
	}
	return out, nil
}

// List returns a page of the webhooks that pass the filter, newest first.
func (s *Webhooks) List(ctx context.Context, tenant webhook.TenantID, f webhook.WebhookFilter, p webhook.Page[webhook.WebhookID]) (webhook.Slice[webhook.Webhook], error) {
	args := webhookFilterArgs(tenant, f)
	page, err := readPage(p, everything(), pageReader[webhookRow]{
		rows: func(within span, limit int, backward bool) (rows []webhookRow, err error) {
			query := selectWebhooks
			if backward {
				query = selectWebhooksAscID
			}
			err = s.db.SelectContext(ctx, &rows, query, with(args, within.low, within.high, limit)...)
			return rows, dbError("listing webhooks", err)
		},
		any: func(within span) (found bool, err error) {
			err = s.db.GetContext(ctx, &found, anyWebhooks, with(args, within.low, within.high)...)
			return found, dbError("looking for more webhooks", err)
		},
	})
	if err != nil {
		return webhook.Slice[webhook.Webhook]{}, err
	}
	items, err := mapRows(page.Items, func(row webhookRow) (webhook.Webhook, error) { return row.webhook(s.keys) })
	return webhook.Slice[webhook.Webhook]{Items: items, HasNext: page.HasNext, HasPrevious: page.HasPrevious}, err
}

// Count returns how many webhooks pass the filter.
func (s *Webhooks) Count(ctx context.Context, tenant webhook.TenantID, f webhook.WebhookFilter) (n int, err error) {
	err = s.db.GetContext(ctx, &n, countWebhooks, webhookFilterArgs(tenant, f)...)
	return n, dbError("counting webhooks", err)
}

func webhookFilterArgs(tenant webhook.TenantID, f webhook.WebhookFilter) []any {
	statuses := anyOf(f.Statuses, func(s webhook.Status) string { return string(s) })
	var patterns, search any
	if f.Event != (webhook.EventType{}) {
		patterns = anyOf(f.Event.Candidates(), webhook.Pattern.String)
	}
	if f.Search != "" {
		search = "%" + likeLiteral(f.Search) + "%"
	}
	return []any{tenant, statuses, patterns, search}
}

// likeLiteral makes ILIKE take a text literally.
func likeLiteral(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s)
}

// querier is a pool or a transaction.
type querier interface {
	GetContext(ctx context.Context, dest any, query string, args ...any) error
}

func (s *Webhooks) get(ctx context.Context, q querier, query string, tenant webhook.TenantID, id webhook.WebhookID) (webhook.Webhook, error) {
	row, err := getRow(ctx, q, query, tenant, id)
	if err != nil {
		return webhook.Webhook{}, err
	}
	return row.webhook(s.keys)
}

func getRow(ctx context.Context, q querier, query string, tenant webhook.TenantID, id webhook.WebhookID) (row webhookRow, err error) {
	err = q.GetContext(ctx, &row, query, tenant, id.UUID())
	if errors.Is(err, sql.ErrNoRows) {
		return row, webhook.NotFound("webhook")
	}
	return row, dbError("loading webhook", err)
}

type webhookRow struct {
	ID               string         `db:"id"`
	TenantID         string         `db:"tenant_id"`
	Name             string         `db:"name"`
	Description      string         `db:"description"`
	URL              string         `db:"url"`
	Events           pq.StringArray `db:"events"`
	Patterns         pq.StringArray `db:"patterns"`
	HeadersSealed    *string        `db:"headers_sealed"`
	Status           string         `db:"status"`
	StatusReason     string         `db:"status_reason"`
	MaxAttempts      int            `db:"max_attempts"`
	TimeoutMs        int            `db:"timeout_ms"`
	InitialBackoffMs int            `db:"initial_backoff_ms"`
	APIVersion       string         `db:"api_version"`
	CreatedBy        string         `db:"created_by"`
	CreatedAt        time.Time      `db:"created_at"`
	UpdatedAt        time.Time      `db:"updated_at"`
}

func (r webhookRow) webhook(keys Opener) (webhook.Webhook, error) {
	id, err := webhook.WebhookIDFromUUID(r.ID)
	if err != nil {
		return webhook.Webhook{}, err
	}
	tenant := webhook.TenantID(r.TenantID)
	events, err := mapRows(r.Events, webhook.ParseEventType)
	if err != nil {
		return webhook.Webhook{}, fmt.Errorf("reading webhook %s: %w", id, err)
	}
	patterns, err := mapRows(r.Patterns, webhook.ParsePattern)
	if err != nil {
		return webhook.Webhook{}, fmt.Errorf("reading webhook %s: %w", id, err)
	}
	headers, err := OpenHeaders(keys, tenant, id, r.HeadersSealed)
	if err != nil {
		return webhook.Webhook{}, err
	}
	return webhook.Webhook{
		ID: id, Tenant: tenant, Name: r.Name, Description: r.Description, URL: r.URL,
		Events: events, Patterns: patterns, Headers: headers,
		Status: webhook.Status(r.Status), StatusReason: r.StatusReason,
		Policy: webhook.Policy{
			MaxAttempts:    r.MaxAttempts,
			Timeout:        time.Duration(r.TimeoutMs) * time.Millisecond,
			InitialBackoff: time.Duration(r.InitialBackoffMs) * time.Millisecond,
		},
		APIVersion: r.APIVersion, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}, nil
}
