package graph

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// DeliveryReader reads the deliveries of a tenant. What does not exist, or
// belongs to another tenant, is webhook.ErrNotFound, or missing from a map.
type DeliveryReader interface {
	Delivery(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error)
	Deliveries(ctx context.Context, tenant webhook.TenantID, filter webhook.DeliveryFilter, page webhook.Page[webhook.DeliveryID]) (webhook.Slice[webhook.Delivery], error)
	CountDeliveries(ctx context.Context, tenant webhook.TenantID, filter webhook.DeliveryFilter) (int, error)
	// AttemptsByDelivery and PayloadsByEvent load nothing, and return
	// webhook.ErrLimitExceeded, when all together have more than most bytes.
	AttemptsByDelivery(ctx context.Context, tenant webhook.TenantID, ids []webhook.DeliveryID, most int) (map[webhook.DeliveryID][]webhook.Attempt, error)
	PayloadsByEvent(ctx context.Context, tenant webhook.TenantID, ids []webhook.EventID, most int) (map[webhook.EventID]string, error)
}

// DeliveryRetrier gives failed deliveries a fresh budget.
type DeliveryRetrier interface {
	Retry(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error)
}

// WebhookDelivery answers one delivery, null when the tenant has none of this id.
func (q *query) WebhookDelivery(ctx context.Context, args struct{ ID identifier }) (*delivery, error) {
	principal, err := enter(ctx, opWebhookDelivery)
	if err != nil {
		return nil, err
	}
	id, ok := parsed(args.ID, webhook.ParseDeliveryID)
	if !ok {
		return nil, nil
	}
	d, err := q.Management.Delivery(ctx, principal.Tenant, id)
	switch {
	case errors.Is(err, webhook.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, q.fail(ctx, err)
	}
	return q.showDelivery(ctx, principal.Tenant, d), nil
}

// deliveryConnection is the type WebhookDeliveryConnection.
type deliveryConnection = connection[webhook.Delivery, *delivery]

// deliveryFilter is the input WebhookDeliveryFilterInput.
type deliveryFilter struct {
	Status        *[]string
	Event         *[]string
	EventID       *identifier
	CreatedAfter  *timestamp
	CreatedBefore *timestamp
}

// errNothing says that no delivery can pass a filter: it has a malformed id,
// which is treated as one that does not exist.
var errNothing = errors.New("no delivery passes the filter")

func (f *deliveryFilter) parse() (webhook.DeliveryFilter, error) {
	var out webhook.DeliveryFilter
	if f == nil {
		return out, nil
	}
	for _, status := range listOf(f.Status) {
		out.Statuses = append(out.Statuses, webhook.DeliveryStatus(strings.ToLower(status)))
	}
	for _, name := range listOf(f.Event) {
		eventType, err := eventTypeOf("filter.event", name)
		if err != nil {
			return out, err
		}
		out.Events = append(out.Events, eventType)
	}
	if f.CreatedAfter != nil {
		out.CreatedAfter = f.CreatedAfter.Time
	}
	if f.CreatedBefore != nil {
		out.CreatedBefore = f.CreatedBefore.Time
	}
	if f.CreatedAfter != nil && f.CreatedBefore != nil && out.CreatedAfter.After(out.CreatedBefore) {
		return out, webhook.Invalid("filter.createdAfter", "must not be after createdBefore")
	}
	if f.EventID != nil {
		id, err := webhook.ParseEventID(string(*f.EventID))
		if err != nil {
			return out, errNothing
		}
		out.Event = &id
	}
	return out, nil
}

// WebhookDeliveries lists the tenant's deliveries. An id that names no webhook of
// the tenant has none.
func (q *query) WebhookDeliveries(ctx context.Context, args struct {
	WebhookID *identifier
	Filter    *deliveryFilter
	pageArgs
}) (*deliveryConnection, error) {
	principal, err := enter(ctx, opWebhookDeliveries)
	if err != nil {
		return nil, err
	}
	if args.WebhookID == nil {
		return q.deliveries(ctx, principal.Tenant, nil, args.Filter, args.pageArgs)
	}
	// A malformed id is the zero id, which no webhook has.
	id, _ := parsed(*args.WebhookID, webhook.ParseWebhookID)
	return q.deliveries(ctx, principal.Tenant, &id, args.Filter, args.pageArgs)
}

func (a *api) deliveries(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, by *deliveryFilter, args pageArgs) (*deliveryConnection, error) {
	page, err := pageOf(args, webhook.ParseDeliveryID)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	filter, err := by.parse()
	nothing := errors.Is(err, errNothing) || hook != nil && hook.IsZero()
	if err != nil && !nothing {
		return nil, a.fail(ctx, err)
	}
	filter.Webhook = hook
	if err := spend(ctx, page.Limit); err != nil {
		return nil, a.fail(ctx, err)
	}
	c := &deliveryConnection{
		show: func(ctx context.Context, rows []webhook.Delivery) []*delivery {
			return a.showDeliveries(ctx, tenant, rows)
		},
		id: func(d webhook.Delivery) fmt.Stringer { return d.ID },
		read: func(context.Context) (webhook.Slice[webhook.Delivery], error) {
			return webhook.Slice[webhook.Delivery]{}, nil
		},
		count: func(context.Context) (int, error) { return 0, nil },
	}
	if nothing {
		return c, nil
	}
	c.read = func(ctx context.Context) (webhook.Slice[webhook.Delivery], error) {
		if filter.Event == nil && len(filter.Statuses)+len(filter.Events) > 0 {
			if err := a.spendScan(ctx, tenant, 1); err != nil {
				return webhook.Slice[webhook.Delivery]{}, a.fail(ctx, err)
			}
		}
		slice, err := a.Management.Deliveries(ctx, tenant, filter, page)
		return slice, a.check(ctx, err)
	}
	c.count = func(ctx context.Context) (int, error) {
		if err := a.spendScan(ctx, tenant, 1); err != nil {
			return 0, a.fail(ctx, err)
		}
		n, err := a.Management.CountDeliveries(ctx, tenant, filter)
		return n, a.check(ctx, err)
	}
	return c, nil
}

// retryPayload is the type RetryWebhookDeliveryPayload.
type retryPayload struct {
	Delivery   *delivery
	UserErrors []userError
}

// RetryWebhookDelivery gives a failed delivery a fresh budget.
func (m *mutation) RetryWebhookDelivery(ctx context.Context, args struct{ ID identifier }) (retryPayload, error) {
	principal, err := enter(ctx, opRetryDelivery)
	if err != nil {
		return retryPayload{}, err
	}
	id, ok := parsed(args.ID, webhook.ParseDeliveryID)
	if !ok {
		faults, err := m.mend(ctx, webhook.NotFound("delivery"))
		return retryPayload{UserErrors: faults}, err
	}
	retried, err := m.Management.Retry(ctx, principal.Tenant, id)
	if err != nil {
		faults, err := m.mend(ctx, err)
		return retryPayload{UserErrors: faults}, err
	}
	return retryPayload{Delivery: m.showDelivery(ctx, principal.Tenant, retried)}, nil
}
