package graph

import (
	"context"
	"encoding/json"
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
	EventType      string
	WebhookID      identifier
	Status         string
	FailureReason  *string
	AttemptCount   int32
	MaxAttempts    int32
	NextAttemptAt  *timestamp
	ResponseStatus *int32
	LastError      *string
	CreatedAt      timestamp
	CompletedAt    *timestamp
}

// deliveryPage is the deliveries that were read together. Whichever of them is
// asked first for its webhook, payload or attempts loads those of all.
type deliveryPage struct {
	api    *api
	tenant webhook.TenantID
	rows   []webhook.Delivery

	hooks    batch[webhook.WebhookID, webhook.Webhook]
	payloads batch[webhook.EventID, string]
	attempts batch[webhook.DeliveryID, []webhook.Attempt]

	shown lazy[map[webhook.WebhookID]*webhookConfig]
}

func (a *api) newDeliveryPage(tenant webhook.TenantID, rows []webhook.Delivery) *deliveryPage {
	p := &deliveryPage{api: a, tenant: tenant, rows: rows}
	p.hooks.cost, p.hooks.load = 1, a.Management.WebhooksByID
	p.hooks.idOf = func(d webhook.Delivery) webhook.WebhookID { return d.WebhookID }
	p.payloads.cost, p.payloads.load = largeItemCost, a.Management.PayloadsByEvent
	p.payloads.bytes = func(body string) int { return len(body) }
	p.payloads.idOf = func(d webhook.Delivery) webhook.EventID { return d.EventID }
	p.attempts.cost, p.attempts.load = largeItemCost, a.Management.AttemptsByDelivery
	p.attempts.bytes = bytesOf
	p.attempts.idOf = func(d webhook.Delivery) webhook.DeliveryID { return d.ID }
	return p
}

func (a *api) showDelivery(tenant webhook.TenantID, row webhook.Delivery) *delivery {
	return a.showDeliveries(tenant, []webhook.Delivery{row})[0]
}

func (a *api) showDeliveries(tenant webhook.TenantID, rows []webhook.Delivery) []*delivery {
	page := a.newDeliveryPage(tenant, rows)
	out := make([]*delivery, len(rows))
	for i, row := range rows {
		out[i] = &delivery{
			page:           page,
			row:            row,
			ID:             identifierOf(row.ID),
			EventID:        identifierOf(row.EventID),
			EventType:      row.EventType.String(),
			WebhookID:      identifierOf(row.WebhookID),
			Status:         enumOf(row.Status),
			FailureReason:  orNull(enumOf(row.FailureReason)),
			AttemptCount:   count(row.AttemptCount),
			MaxAttempts:    count(row.MaxAttempts),
			NextAttemptAt:  timestampOf(row.NextAttemptAt),
			ResponseStatus: statusOf(row.ResponseStatus),
			LastError:      orNull(row.LastError),
			CreatedAt:      timestamp{row.CreatedAt},
			CompletedAt:    timestampOf(row.CompletedAt),
		}
	}
	return out
}

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
		for _, config := range d.page.api.showWebhooks(slices.Collect(maps.Values(all))) {
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
	return jsonValue{json.RawMessage(body)}, nil
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
	for i, a := range attempts {
		out[i] = showAttempt(a)
	}
	return out, nil
}

// batch is what the deliveries of a page have by an id of theirs, loaded by one
// call at a cost for each row.
type batch[ID comparable, V any] struct {
	cost   int
	idOf   func(webhook.Delivery) ID
	load   func(context.Context, webhook.TenantID, []ID) (map[ID]V, error)
	bytes  func(V) int // nil when no value is large
	loaded lazy[map[ID]V]
}

func (b *batch[ID, V]) of(ctx context.Context, p *deliveryPage, row webhook.Delivery) (V, bool, error) {
	all, err := b.loaded.get(func() (map[ID]V, error) {
		if err := spend(ctx, b.cost*len(p.rows)); err != nil {
			return nil, p.api.fail(ctx, err)
		}
		found, err := b.load(ctx, p.tenant, b.ids(p.rows))
		if err == nil {
			err = spend(ctx, b.size(found)/bytesPerCost)
		}
		return found, p.api.check(ctx, err)
	})
	v, found := all[b.idOf(row)]
	return v, found, err
}

func (b *batch[ID, V]) size(all map[ID]V) (n int) {
	if b.bytes == nil {
		return 0
	}
	for _, v := range all {
		n += b.bytes(v)
	}
	return n
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

// bytesOf is about what attempts take in an answer.
func bytesOf(attempts []webhook.Attempt) (n int) {
	for _, a := range attempts {
		n += len(a.ResponseBody) + len(a.Error)
		for _, h := range slices.Concat(a.RequestHeaders, a.ResponseHeaders) {
			n += len(h.Name) + len(h.Value)
		}
	}
	return n
}

// attempt is the type WebhookDeliveryAttempt.
type attempt struct {
	Number          int32
	StartedAt       timestamp
	DurationMs      int32
	ResponseStatus  *int32
	ErrorClass      *string
	Error           *string
	RequestHeaders  []webhook.Field
	ResponseHeaders []webhook.Field
	ResponseBody    *string
}

func showAttempt(a webhook.Attempt) attempt {
	shown := attempt{
		Number:          count(a.Number),
		StartedAt:       timestamp{a.StartedAt},
		DurationMs:      wholeMilliseconds(a.Duration),
		ResponseStatus:  statusOf(a.ResponseStatus),
		ErrorClass:      orNull(string(a.ErrorClass)),
		Error:           orNull(a.Error),
		RequestHeaders:  a.RequestHeaders,
		ResponseHeaders: a.ResponseHeaders,
	}
	if a.ResponseStatus != 0 {
		shown.ResponseBody = &a.ResponseBody
	}
	return shown
}

// statusOf returns nil, which is null, when no answer came.
func statusOf(code int) *int32 {
	if code == 0 {
		return nil
	}
	status := count(code)
	return &status
}
