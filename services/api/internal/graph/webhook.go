package graph

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// maxSearchBytes bounds what is searched for: no name or URL is longer.
const maxSearchBytes = 2048

// WebhookReader reads the webhooks of a tenant. What does not exist, or belongs
// to another tenant, is webhook.ErrNotFound, or missing from a map.
type WebhookReader interface {
	Webhook(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID) (webhook.Webhook, error)
	WebhooksByID(ctx context.Context, tenant webhook.TenantID, ids []webhook.WebhookID) (map[webhook.WebhookID]webhook.Webhook, error)
	Webhooks(ctx context.Context, tenant webhook.TenantID, filter webhook.WebhookFilter, page webhook.Page[webhook.WebhookID]) (webhook.Slice[webhook.Webhook], error)
	CountWebhooks(ctx context.Context, tenant webhook.TenantID, filter webhook.WebhookFilter) (int, error)
}

// webhookConfig is the type WebhookConfig.
type webhookConfig struct {
	page *webhookPage
	hook webhook.Webhook

	ID               identifier
	Status           string
	MaxAttempts      int32
	TimeoutMs        int32
	InitialBackoffMs int32
	APIVersion       string
	CreatedAt        timestamp
	UpdatedAt        timestamp
}

func (p *webhookPage) show(w webhook.Webhook) *webhookConfig {
	return &webhookConfig{
		page:             p,
		hook:             w,
		ID:               identifierOf(w.ID),
		Status:           enumOf(w.Status),
		MaxAttempts:      count(w.Policy.MaxAttempts),
		TimeoutMs:        wholeMilliseconds(w.Policy.Timeout),
		InitialBackoffMs: wholeMilliseconds(w.Policy.InitialBackoff),
		APIVersion:       w.APIVersion,
		CreatedAt:        timestamp{w.CreatedAt},
		UpdatedAt:        timestamp{w.UpdatedAt},
	}
}

// Name answers what people call it.
func (w *webhookConfig) Name() string { return w.page.budget.text(w.hook.Name) }

// Description answers what people say of it, null when nothing.
func (w *webhookConfig) Description() *string { return w.page.budget.textOrNull(w.hook.Description) }

// URL answers where deliveries go.
func (w *webhookConfig) URL() string { return w.page.budget.text(w.hook.URL) }

// Events answers the built-in types that it subscribes to.
func (w *webhookConfig) Events() []string { return w.page.budget.texts(eventNames(w.hook.Events)) }

// EventPatterns answers what else it subscribes to.
func (w *webhookConfig) EventPatterns() []string {
	return w.page.budget.texts(patternTexts(w.hook.Patterns))
}

// Headers answers its own headers, credentials masked.
func (w *webhookConfig) Headers() []header {
	return showHeaders(w.page.budget, maskedHeaders(w.hook.Headers))
}

// StatusReason answers why it has its status, null when nobody said.
func (w *webhookConfig) StatusReason() *string { return w.page.budget.textOrNull(w.hook.StatusReason) }

// CreatedBy answers who made it.
func (w *webhookConfig) CreatedBy() string { return w.page.budget.text(w.hook.CreatedBy) }

// Deliveries lists the webhook's deliveries.
func (w *webhookConfig) Deliveries(ctx context.Context, args struct {
	Filter *deliveryFilter
	First  *integer
	After  *text
}) (*deliveryConnection, error) {
	principal, err := enter(ctx, opNestedDeliveries)
	if err != nil {
		return nil, err
	}
	if err := spend(ctx, statementCost); err != nil {
		return nil, w.page.api.fail(ctx, err)
	}
	return w.page.api.deliveries(ctx, principal.Tenant, &w.hook.ID, args.Filter, pageArgs{First: args.First, After: args.After})
}

// Stats counts the webhook's deliveries.
func (w *webhookConfig) Stats(ctx context.Context, args periodArgs) (stats, error) {
	if _, err := enter(ctx, opNestedStats); err != nil {
		return stats{}, err
	}
	period, err := args.period()
	if err != nil {
		return stats{}, w.page.api.fail(ctx, err)
	}
	counted, err := w.page.statsOf(ctx, w.hook.ID, period)
	return showStats(counted), err
}

// Webhook answers one webhook, null when the tenant has none of this id.
func (q *query) Webhook(ctx context.Context, args struct{ ID identifier }) (*webhookConfig, error) {
	principal, err := enter(ctx, opWebhook)
	if err != nil {
		return nil, err
	}
	id, ok := parsed(args.ID, webhook.ParseWebhookID)
	if !ok {
		return nil, nil
	}
	w, err := q.Management.Webhook(ctx, principal.Tenant, id)
	switch {
	case errors.Is(err, webhook.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, q.fail(ctx, err)
	}
	return q.showWebhook(ctx, w), nil
}

// webhookConnection is the type WebhookConfigConnection.
type webhookConnection = connection[webhook.Webhook, *webhookConfig]

// webhookFilter is the input WebhookFilterInput.
type webhookFilter struct {
	Status *[]string
	Event  *string
	Search *text
}

func (f *webhookFilter) parse() (webhook.WebhookFilter, error) {
	var out webhook.WebhookFilter
	if f == nil {
		return out, nil
	}
	for _, status := range listOf(f.Status) {
		out.Statuses = append(out.Statuses, webhook.Status(strings.ToLower(status)))
	}
	if f.Event != nil {
		eventType, err := eventTypeOf("filter.event", *f.Event)
		if err != nil {
			return out, err
		}
		out.Event = eventType
	}
	if f.Search != nil {
		out.Search = string(*f.Search)
	}
	if len(out.Search) > maxSearchBytes || strings.ContainsFunc(out.Search, unicode.IsControl) {
		return out, webhook.Invalid("filter.search", fmt.Sprintf("must have at most %d bytes and no control characters", maxSearchBytes))
	}
	return out, nil
}

// Webhooks lists the tenant's webhooks.
func (q *query) Webhooks(ctx context.Context, args struct {
	Filter *webhookFilter
	pageArgs
}) (*webhookConnection, error) {
	principal, err := enter(ctx, opWebhooks)
	if err != nil {
		return nil, err
	}
	filter, err := args.Filter.parse()
	if err != nil {
		return nil, q.fail(ctx, err)
	}
	page, err := pageOf(args.pageArgs, webhook.ParseWebhookID)
	if err != nil {
		return nil, q.fail(ctx, err)
	}
	if err := spend(ctx, page.Limit); err != nil {
		return nil, q.fail(ctx, err)
	}
	return &webhookConnection{
		read: func(ctx context.Context) (slice webhook.Slice[webhook.Webhook], err error) {
			err = budgetOf(ctx).load(func(int) (bytes int, err error) {
				slice, err = q.Management.Webhooks(ctx, principal.Tenant, filter, page)
				for _, w := range slice.Items {
					bytes += webhookSize(w)
				}
				return bytes, err
			})
			return slice, q.check(ctx, err)
		},
		count: func(ctx context.Context) (int, error) {
			n, err := q.Management.CountWebhooks(ctx, principal.Tenant, filter)
			return n, q.check(ctx, err)
		},
		show: q.showWebhooks,
		id:   func(w webhook.Webhook) fmt.Stringer { return w.ID },
	}, nil
}

// webhookSize is about how many bytes a webhook has.
func webhookSize(w webhook.Webhook) int {
	n := len(w.URL) + len(w.Description)
	for _, h := range w.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n
}

// eventNames returns the names of types that the schema has.
func eventNames(types []webhook.EventType) []string {
	out := make([]string, 0, len(types))
	for _, t := range types {
		if entry, ok := webhook.LookupType(t); ok {
			out = append(out, entry.Enum)
		}
	}
	return out
}

// eventTypeOf finds a type by its name in the schema.
func eventTypeOf(field, name string) (webhook.EventType, error) {
	entry, ok := webhook.LookupEnum(name)
	if !ok {
		return webhook.EventType{}, webhook.Invalid(field, "must be a built-in event type")
	}
	return entry.Type, nil
}

func patternTexts(patterns []webhook.Pattern) []string {
	out := make([]string, len(patterns))
	for i, p := range patterns {
		out[i] = p.String()
	}
	return out
}

func maskedHeaders(headers []webhook.Header) []webhook.Field {
	out := make([]webhook.Field, len(headers))
	for i, h := range headers {
		out[i] = webhook.MaskHeader(h)
	}
	return out
}

// enumOf spells a domain constant as the schema does.
func enumOf[T ~string](value T) string { return strings.ToUpper(string(value)) }

// orNull returns nil, which is null, for the empty text.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func listOf[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

// count fits a number into an Int.
func count(n int) int32 { return int32(min(n, math.MaxInt32)) } //nolint:gosec // bounded, and not negative

func wholeMilliseconds(d time.Duration) int32 { return count(int(d.Milliseconds())) }
