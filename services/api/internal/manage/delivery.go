package manage

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Retry gives a failed delivery a fresh budget and returns it; attempts go on
// counting. It is due at once, but not before its turn: a paused webhook's waits
// for the resume. What cannot be retried is a Conflict.
func (s *Service) Retry(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error) {
	d, owed, err := s.cfg.Deliveries.Retry(ctx, tenant, id)
	if err != nil {
		return webhook.Delivery{}, err
	}
	if owed != nil {
		s.cfg.Doorbell.RingReplay([]webhook.Owed{*owed})
	}
	return d, nil
}

// Delivery returns a delivery, or NotFound.
func (s *Service) Delivery(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error) {
	return s.cfg.Deliveries.Get(ctx, tenant, id)
}

// Deliveries returns a page of the deliveries that pass the filter, newest first.
func (s *Service) Deliveries(ctx context.Context, tenant webhook.TenantID, f webhook.DeliveryFilter, p webhook.Page[webhook.DeliveryID]) (webhook.Slice[webhook.Delivery], error) {
	if err := checkLimit(p.Limit, p.Backward); err != nil {
		return webhook.Slice[webhook.Delivery]{}, err
	}
	return s.cfg.Deliveries.List(ctx, tenant, f, p)
}

// CountDeliveries returns how many deliveries pass the filter.
func (s *Service) CountDeliveries(ctx context.Context, tenant webhook.TenantID, f webhook.DeliveryFilter) (int, error) {
	return s.cfg.Deliveries.Count(ctx, tenant, f)
}

// AttemptsByDelivery returns the attempts of deliveries, each delivery's by
// number; LimitExceeded when all together have more than most bytes.
func (s *Service) AttemptsByDelivery(ctx context.Context, tenant webhook.TenantID, ids []webhook.DeliveryID, most int) (map[webhook.DeliveryID][]webhook.Attempt, error) {
	return s.cfg.Deliveries.Attempts(ctx, tenant, ids, most)
}

// PayloadsByEvent returns the bodies that receivers get, byte for byte (I8);
// LimitExceeded when all together have more than most bytes.
func (s *Service) PayloadsByEvent(ctx context.Context, tenant webhook.TenantID, ids []webhook.EventID, most int) (map[webhook.EventID]string, error) {
	return s.cfg.Deliveries.Payloads(ctx, tenant, ids, most)
}

// StatsByWebhook does what Stats does for several webhooks at the cost of one;
// those without deliveries are left out.
func (s *Service) StatsByWebhook(ctx context.Context, tenant webhook.TenantID, hooks []webhook.WebhookID, p webhook.Period) (map[webhook.WebhookID]webhook.Stats, error) {
	return s.cfg.Deliveries.StatsByWebhook(ctx, tenant, hooks, p)
}

// LogSize counts the tenant's deliveries, but not beyond most.
func (s *Service) LogSize(ctx context.Context, tenant webhook.TenantID, most int) (int, error) {
	return s.cfg.Deliveries.Size(ctx, tenant, most)
}

// Stats counts deliveries created in a period, of one webhook (NotFound when
// there is none) or of the tenant. Test sends do not count.
func (s *Service) Stats(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, p webhook.Period) (webhook.Stats, error) {
	return s.cfg.Deliveries.Stats(ctx, tenant, hook, p)
}
