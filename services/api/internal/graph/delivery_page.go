package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// delivery is the type WebhookDelivery.
type delivery struct {
	page *deliveryPage
	row  webhook.Delivery

	ID             identifier
	EventID        identifier
	WebhookID      identifier
	Status         string
	FailureReason  *string
	AttemptCount   int32
	MaxAttempts    int32
	NextAttemptAt  *timestamp
	ResponseStatus *int32
	CreatedAt      timestamp
	CompletedAt    *timestamp
}

// deliveryPage is the deliveries that were read together. Whichever of them is
// asked first for its webhook, payload or attempts loads those of all.
type deliveryPage struct {
	api    *api
	budget *budget
	tenant webhook.TenantID
	rows   []webhook.Delivery

	hooks    batch[webhook.WebhookID, webhook.Webhook]
	payloads batch[webhook.EventID, string]
	attempts batch[webhook.DeliveryID, []webhook.Attempt]

	shown lazy[map[webhook.WebhookID]*webhookConfig]
}

func (a *api) newDeliveryPage(ctx context.Context, tenant webhook.TenantID, rows []webhook.Delivery) *deliveryPage {
	p := &deliveryPage{api: a, budget: budgetOf(ctx), tenant: tenant, rows: rows}
	p.hooks.cost, p.hooks.size = 1, webhookSize
	p.hooks.load = func(ctx context.Context, tenant webhook.TenantID, ids []webhook.WebhookID, _ int) (map[webhook.WebhookID]webhook.Webhook, error) {
		return a.Management.WebhooksByID(ctx, tenant, ids)
	}
	p.hooks.idOf = func(d webhook.Delivery) webhook.WebhookID { return d.WebhookID }
	p.payloads.cost, p.payloads.load = largeItemCost, a.Management.PayloadsByEvent
	p.payloads.size = func(body string) int { return len(body) }
	p.payloads.idOf = func(d webhook.Delivery) webhook.EventID { return d.EventID }
	p.attempts.cost, p.attempts.load = largeItemCost, a.Management.AttemptsByDelivery
	p.attempts.size = attemptsSize
	p.attempts.idOf = func(d webhook.Delivery) webhook.DeliveryID { return d.ID }
	return p
}

func (a *api) showDelivery(ctx context.Context, tenant webhook.TenantID, row webhook.Delivery) *delivery {
	return a.showDeliveries(ctx, tenant, []webhook.Delivery{row})[0]
}

func (a *api) showDeliveries(ctx context.Context, tenant webhook.TenantID, rows []webhook.Delivery) []*delivery {
	page := a.newDeliveryPage(ctx, tenant, rows)
	out := make([]*delivery, len(rows))
	for i, row := range rows {
		out[i] = &delivery{
			page:           page,
			row:            row,
			ID:             identifierOf(row.ID),
			EventID:        identifierOf(row.EventID),
			WebhookID:      identifierOf(row.WebhookID),
			Status:         enumOf(row.Status),
			FailureReason:  orNull(enumOf(row.FailureReason)),
			AttemptCount:   count(row.AttemptCount),
			MaxAttempts:    count(row.MaxAttempts),
			NextAttemptAt:  timestampOf(row.NextAttemptAt),
			ResponseStatus: statusOf(row.ResponseStatus),
			CreatedAt:      timestamp{row.CreatedAt},
			CompletedAt:    timestampOf(row.CompletedAt),
		}
	}
	return out
}

// EventType answers the wire name of the event's type.
func (d *delivery) EventType() string { return d.page.budget.text(d.row.EventType.String()) }

// LastError answers what went wrong last, null when nothing did.
func (d *delivery) LastError() *string { return d.page.budget.textOrNull(d.row.LastError) }

// Webhook answers the webhook that the delivery is owed to, null when it was deleted.
func (d *delivery) Webhook(ctx context.Context) (*webhookConfig, error) {
	if _, err := enter(ctx, opDeliveryWebhook); err != nil {
		return nil, err
	}
	w, found, err := d.page.hooks.of(ctx, d.page, d.row)
	if err != nil || !found {
		return nil, err
	}
	shown, err := d.page.shown.get(func() (map[webhook.WebhookID]*webhookConfig, error) {
		all := d.page.hooks.loaded.value
		out := make(map[webhook.WebhookID]*webhookConfig, len(all))
		for _, config := range d.page.api.showWebhooks(ctx, slices.Collect(maps.Values(all))) {
			out[config.hook.ID] = config
		}
		return out, nil
	})
	return shown[w.ID], err
}

// Payload answers the body that is sent.
func (d *delivery) Payload(ctx context.Context) (jsonValue, error) {
	if _, err := enter(ctx, opDeliveryPayload); err != nil {
		return jsonValue{}, err
	}
	body, found, err := d.page.payloads.of(ctx, d.page, d.row)
	if err != nil {
		return jsonValue{}, err
	}
	if !found {
		return jsonValue{}, d.page.api.fail(ctx, fmt.Errorf("delivery %s: its event is missing", d.row.ID))
	}
	return d.page.budget.json(json.RawMessage(body)), nil
}

// Attempts answers the requests made so far.
func (d *delivery) Attempts(ctx context.Context) ([]attempt, error) {
	if _, err := enter(ctx, opDeliveryAttempts); err != nil {
		return nil, err
	}
	attempts, _, err := d.page.attempts.of(ctx, d.page, d.row)
	if err != nil {
		return nil, err
	}
	out := make([]attempt, len(attempts))
	for i, row := range attempts {
		out[i] = showAttempt(d.page.budget, row)
	}
	return out, nil
}

// batch is what the deliveries of a page have by an id of theirs, loaded by one
// call at a cost for each row and for the bytes that came.
type batch[ID comparable, V any] struct {
	cost   int
	idOf   func(webhook.Delivery) ID
	load   func(ctx context.Context, tenant webhook.TenantID, ids []ID, most int) (map[ID]V, error)
	size   func(V) int
	loaded lazy[map[ID]V]
}

func (b *batch[ID, V]) of(ctx context.Context, p *deliveryPage, row webhook.Delivery) (V, bool, error) {
	all, err := b.loaded.get(func() (found map[ID]V, err error) {
		if err = p.budget.spend(b.cost*len(p.rows), selectLess); err == nil {
			err = p.budget.load(func(most int) (bytes int, err error) {
				found, err = b.load(ctx, p.tenant, b.ids(p.rows), most)
				for _, v := range found {
					bytes += b.size(v)
				}
				return bytes, err
			})
		}
		if errors.Is(err, webhook.ErrLimitExceeded) { // more bytes than are left
			err = p.budget.spend(maxCost+1, selectLess)
		}
		return found, p.api.check(ctx, err)
	})
	v, found := all[b.idOf(row)]
	return v, found, err
}

func (b *batch[ID, V]) ids(rows []webhook.Delivery) []ID {
	ids := make([]ID, 0, len(rows))
	seen := make(map[ID]bool, len(rows))
	for _, row := range rows {
		if id := b.idOf(row); !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}
