package graph_test

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

const (
	acme    webhook.TenantID = "acme"
	globex  webhook.TenantID = "globex"
	aSecret                  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func now() time.Time { return time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC) }

// fake is the use cases over memory. It keeps tenants apart as the real ones
// must, and counts the calls.
type fake struct {
	mu         sync.Mutex
	hooks      []webhook.Webhook
	deliveries []webhook.Delivery
	attempts   map[webhook.DeliveryID][]webhook.Attempt
	payloads   map[webhook.EventID]string
	calls      map[string]int

	created  webhook.Settings
	secret   string
	by       string
	change   webhook.Change
	grace    time.Duration
	tested   *webhook.CatalogueEntry
	result   manage.TestResult
	filter   webhook.WebhookFilter
	filtered webhook.DeliveryFilter
	period   webhook.Period
	accepted []webhook.NewEvent
	err      error // what every call answers, when set
	size     int   // what the log pretends to hold
	panics   bool  // whether it does so by a panic
	forgets  bool  // whether Accept leaves one out

	payloadErr error
	testing    func() // called by Test, when set
	// loadingMuch is called for payloads of more than 1 MiB, when set.
	loadingMuch func()
}

func (f *fake) called(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[name]++
	if f.panics {
		panic(secretText)
	}
	return f.err
}

func (f *fake) Create(_ context.Context, tenant webhook.TenantID, by string, in webhook.Settings, secret string) (webhook.Webhook, webhook.Secret, error) {
	if err := f.called("Create"); err != nil {
		return webhook.Webhook{}, webhook.Secret{}, err
	}
	f.created, f.secret, f.by = in, secret, by
	if secret == "" {
		secret = aSecret
	}
	key, err := webhook.ParseSecret(secret)
	return in.Webhook(hookID(900), tenant, by, now()), key, err
}

func (f *fake) Update(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, change webhook.Change) (webhook.Webhook, error) {
	if err := f.called("Update"); err != nil {
		return webhook.Webhook{}, err
	}
	f.mu.Lock()
	f.change = change
	f.mu.Unlock()
	w, err := f.Webhook(ctx, tenant, id)
	if err != nil {
		return w, err
	}
	return change.Apply(w, webhook.URLRules{})
}

func (f *fake) Delete(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID) error {
	if err := f.called("Delete"); err != nil {
		return err
	}
	_, err := f.Webhook(ctx, tenant, id)
	return err
}

func (f *fake) Rotate(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, grace time.Duration) (webhook.Webhook, webhook.Secret, time.Time, error) {
	if err := f.called("Rotate"); err != nil {
		return webhook.Webhook{}, webhook.Secret{}, time.Time{}, err
	}
	if grace < 0 || grace > manage.MaxGrace {
		return webhook.Webhook{}, webhook.Secret{}, time.Time{}, webhook.Invalid("graceSeconds", "must be between 0 and 604800 (7 days)")
	}
	f.grace = grace
	w, err := f.Webhook(ctx, tenant, id)
	if err != nil {
		return w, webhook.Secret{}, time.Time{}, err
	}
	key, err := webhook.ParseSecret(aSecret)
	return w, key, now().Add(grace), err
}

func (f *fake) Test(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, event *webhook.CatalogueEntry) (manage.TestResult, error) {
	if err := f.called("Test"); err != nil {
		return manage.TestResult{}, err
	}
	f.mu.Lock()
	f.tested = event
	f.mu.Unlock()
	if f.testing != nil {
		f.testing()
	}
	_, err := f.Webhook(ctx, tenant, id)
	return f.result, err
}

func (f *fake) Retry(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error) {
	if err := f.called("Retry"); err != nil {
		return webhook.Delivery{}, err
	}
	d, err := f.Delivery(ctx, tenant, id)
	if err == nil && d.Status != webhook.Failed {
		return webhook.Delivery{}, webhook.Conflict("id", "must be of a failed delivery")
	}
	d.Status = webhook.Pending
	return d, err
}

func (f *fake) Webhook(_ context.Context, tenant webhook.TenantID, id webhook.WebhookID) (webhook.Webhook, error) {
	if err := f.called("Webhook"); err != nil {
		return webhook.Webhook{}, err
	}
	for _, w := range f.hooks {
		if w.Tenant == tenant && w.ID == id {
			return w, nil
		}
	}
	return webhook.Webhook{}, webhook.NotFound("webhook")
}

func (f *fake) WebhooksByID(_ context.Context, tenant webhook.TenantID, ids []webhook.WebhookID) (map[webhook.WebhookID]webhook.Webhook, error) {
	out := map[webhook.WebhookID]webhook.Webhook{}
	for _, w := range f.hooks {
		if w.Tenant == tenant && slices.Contains(ids, w.ID) {
			out[w.ID] = w
		}
	}
	return out, f.called("WebhooksByID")
}

func (f *fake) Webhooks(_ context.Context, tenant webhook.TenantID, filter webhook.WebhookFilter, page webhook.Page[webhook.WebhookID]) (webhook.Slice[webhook.Webhook], error) {
	f.filter = filter
	if err := f.called("Webhooks"); err != nil {
		return webhook.Slice[webhook.Webhook]{}, err
	}
	return slice(f.hooksOf(tenant), page, func(w webhook.Webhook) webhook.WebhookID { return w.ID }), nil
}

func (f *fake) CountWebhooks(_ context.Context, tenant webhook.TenantID, _ webhook.WebhookFilter) (int, error) {
	return len(f.hooksOf(tenant)), f.called("CountWebhooks")
}

func (f *fake) hooksOf(tenant webhook.TenantID) []webhook.Webhook {
	return slices.DeleteFunc(slices.Clone(f.hooks), func(w webhook.Webhook) bool { return w.Tenant != tenant })
}

func (f *fake) Delivery(_ context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error) {
	if err := f.called("Delivery"); err != nil {
		return webhook.Delivery{}, err
	}
	for _, d := range f.deliveries {
		if d.Tenant == tenant && d.ID == id {
			return d, nil
		}
	}
	return webhook.Delivery{}, webhook.NotFound("delivery")
}

func (f *fake) Deliveries(_ context.Context, tenant webhook.TenantID, filter webhook.DeliveryFilter, page webhook.Page[webhook.DeliveryID]) (webhook.Slice[webhook.Delivery], error) {
	f.mu.Lock()
	f.filtered = filter
	f.mu.Unlock()
	if err := f.called("Deliveries"); err != nil {
		return webhook.Slice[webhook.Delivery]{}, err
	}
	return slice(f.deliveriesOf(tenant, filter), page, func(d webhook.Delivery) webhook.DeliveryID { return d.ID }), nil
}

func (f *fake) CountDeliveries(_ context.Context, tenant webhook.TenantID, filter webhook.DeliveryFilter) (int, error) {
	return len(f.deliveriesOf(tenant, filter)), f.called("CountDeliveries")
}

func (f *fake) deliveriesOf(tenant webhook.TenantID, filter webhook.DeliveryFilter) []webhook.Delivery {
	return slices.DeleteFunc(slices.Clone(f.deliveries), func(d webhook.Delivery) bool {
		return d.Tenant != tenant || filter.Webhook != nil && d.WebhookID != *filter.Webhook || filter.Event != nil && d.EventID != *filter.Event
	})
}

func (f *fake) AttemptsByDelivery(_ context.Context, tenant webhook.TenantID, ids []webhook.DeliveryID, most int) (map[webhook.DeliveryID][]webhook.Attempt, error) {
	out := map[webhook.DeliveryID][]webhook.Attempt{}
	for _, d := range f.deliveries {
		if d.Tenant == tenant && slices.Contains(ids, d.ID) {
			out[d.ID] = f.attempts[d.ID]
			for _, a := range f.attempts[d.ID] {
				most -= len(a.ResponseBody)
			}
		}
	}
	if most < 0 {
		return nil, webhook.LimitExceeded("attempts", "must be loaded in smaller parts")
	}
	return out, f.called("AttemptsByDelivery")
}

func (f *fake) PayloadsByEvent(_ context.Context, tenant webhook.TenantID, ids []webhook.EventID, most int) (map[webhook.EventID]string, error) {
	out := map[webhook.EventID]string{}
	for _, d := range f.deliveries {
		body, ok := f.payloads[d.EventID]
		if ok && d.Tenant == tenant && slices.Contains(ids, d.EventID) {
			out[d.EventID] = body
			most -= len(body)
		}
	}
	if most < 0 {
		return nil, webhook.LimitExceeded("payloads", "must be loaded in smaller parts")
	}
	if most > 1<<20 && f.loadingMuch != nil {
		f.loadingMuch()
	}
	if err := f.called("PayloadsByEvent"); err != nil {
		return nil, err
	}
	return out, f.payloadErr
}

func (f *fake) Stats(_ context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, p webhook.Period) (webhook.Stats, error) {
	f.mu.Lock()
	f.period = p
	f.mu.Unlock()
	return webhook.Stats{Total: len(f.deliveriesOf(tenant, webhook.DeliveryFilter{Webhook: hook}))}, f.called("Stats")
}

func (f *fake) StatsByWebhook(ctx context.Context, tenant webhook.TenantID, hooks []webhook.WebhookID, p webhook.Period) (map[webhook.WebhookID]webhook.Stats, error) {
	out := map[webhook.WebhookID]webhook.Stats{}
	for _, id := range hooks {
		s, err := f.Stats(ctx, tenant, &id, p)
		if err != nil {
			return nil, err
		}
		out[id] = s
	}
	return out, f.called("StatsByWebhook")
}

func (f *fake) LogSize(_ context.Context, tenant webhook.TenantID, most int) (int, error) {
	n := max(f.size, len(f.deliveriesOf(tenant, webhook.DeliveryFilter{})))
	return min(n, most), f.called("LogSize")
}

func (f *fake) Accept(_ context.Context, events []webhook.NewEvent) ([]webhook.AcceptedEvent, error) {
	if err := f.called("Accept"); err != nil {
		return nil, err
	}
	f.accepted = events
	if f.forgets {
		events = events[1:]
	}
	out := make([]webhook.AcceptedEvent, len(events))
	for i := range events {
		out[i] = webhook.AcceptedEvent{ID: eventID(i), Deliveries: i + 1}
	}
	return out, nil
}

// slice pages through rows, newest first, as a store does.
func slice[T any, ID interface{ String() string }](rows []T, page webhook.Page[ID], id func(T) ID) webhook.Slice[T] {
	slices.SortFunc(rows, func(a, b T) int { return cmp.Compare(id(b).String(), id(a).String()) })
	inside := slices.DeleteFunc(slices.Clone(rows), func(row T) bool {
		return page.After != nil && id(row).String() >= (*page.After).String() ||
			page.Before != nil && id(row).String() <= (*page.Before).String()
	})
	if page.Backward {
		inside = inside[max(0, len(inside)-page.Limit):]
	} else {
		inside = inside[:min(page.Limit, len(inside))]
	}
	out := webhook.Slice[T]{Items: inside}
	if len(inside) > 0 {
		out.HasPrevious = id(inside[0]).String() != id(rows[0]).String()
		out.HasNext = id(inside[len(inside)-1]).String() != id(rows[len(rows)-1]).String()
	}
	return out
}

func hookID(n int) webhook.WebhookID {
	return webhook.NewWebhookID(now().Add(time.Duration(n)*time.Second), [10]byte{1})
}

func eventID(n int) webhook.EventID {
	return webhook.NewEventID(now().Add(time.Duration(n)*time.Second), [10]byte{2})
}

// webhooks makes n webhooks of a tenant, the oldest first.
func webhooks(tenant webhook.TenantID, from, n int) []webhook.Webhook {
	out := make([]webhook.Webhook, n)
	for i := range out {
		out[i] = webhook.Webhook{
			ID: hookID(from + i), Tenant: tenant, Name: "orders", URL: "https://example.com/hook", Status: webhook.Active,
			Policy: webhook.DefaultPolicy(), APIVersion: webhook.CurrentAPIVersion, CreatedBy: "ann", CreatedAt: now(), UpdatedAt: now(),
		}
	}
	return out
}

// deliveries makes n deliveries to a webhook, the oldest first.
func deliveries(w webhook.Webhook, n int) []webhook.Delivery {
	out := make([]webhook.Delivery, n)
	for i := range out {
		out[i] = webhook.Delivery{
			ID: webhook.DeliveryIDFor(eventID(i), w.ID), Tenant: w.Tenant, WebhookID: w.ID, EventID: eventID(i),
			EventType: webhook.TestEventType, Kind: webhook.KindEvent, Status: webhook.Pending, MaxAttempts: 3, CreatedAt: now(),
		}
	}
	return out
}
