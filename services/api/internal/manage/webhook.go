package manage

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// MaxGrace bounds how long a former secret goes on signing.
	MaxGrace = 7 * 24 * time.Hour

	secretBytes = 32
	// fillTimeout bounds what follows a commit when its caller may be gone.
	fillTimeout = 5 * time.Second
)

// Create makes an active webhook and returns it with its signing secret: the
// given one, or a new one when secret is empty.
func (s *Service) Create(ctx context.Context, tenant webhook.TenantID, by string, in webhook.Settings, secret string) (webhook.Webhook, webhook.Secret, error) {
	key, err := s.secret(secret)
	if err != nil {
		return webhook.Webhook{}, webhook.Secret{}, err
	}
	random, err := s.random()
	if err != nil {
		return webhook.Webhook{}, webhook.Secret{}, fmt.Errorf("making an id: %w", err)
	}
	now := s.now()
	w := in.Webhook(webhook.NewWebhookID(now, random), tenant, by, now)
	if err := s.cfg.Webhooks.Create(ctx, w, key); err != nil {
		return webhook.Webhook{}, webhook.Secret{}, err
	}
	return w, key, nil
}

func (s *Service) secret(given string) (webhook.Secret, error) {
	if given != "" {
		return webhook.ParseSecret(given)
	}
	key := make([]byte, secretBytes)
	if _, err := io.ReadFull(s.cfg.Random, key); err != nil {
		return webhook.Secret{}, fmt.Errorf("making a secret: %w", err)
	}
	return webhook.SecretFromKey(key)
}

// Update changes a webhook. Deliveries that are still owed go to the new URL
// with the new headers; their number of attempts stays. Becoming active releases
// what was held.
func (s *Service) Update(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, change webhook.Change) (webhook.Webhook, error) {
	resumed := false
	w, err := s.cfg.Webhooks.Update(ctx, tenant, id, s.now(), func(before webhook.Webhook) (webhook.Webhook, error) {
		after, err := change.Apply(before, s.cfg.Rules)
		resumed = before.Status != webhook.Active && after.Status == webhook.Active
		return after, err
	})
	if err != nil {
		return webhook.Webhook{}, err
	}
	if resumed {
		s.fill(ctx, id)
	}
	return w, nil
}

// fill rings for what the webhook's window has room for. Failing it costs
// seconds: the relay does the same.
func (s *Service) fill(ctx context.Context, id webhook.WebhookID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fillTimeout)
	defer cancel()
	owed, err := s.cfg.Lanes.Fill(ctx, []webhook.WebhookID{id})
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "deliveries not released, the relay will", obs.Webhook(id), obs.Err(err))
	}
	s.cfg.Doorbell.Ring(owed)
}

// Delete takes a webhook away. What it was still owed fails as WebhookDeleted,
// and its deliveries stay in the log.
func (s *Service) Delete(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID) error {
	return s.cfg.Webhooks.Delete(ctx, tenant, id, s.now())
}

// Rotate gives a webhook a new secret and returns it, with the time until which
// the former one signs, too. At most ten secrets sign at a time: beyond them the
// oldest ends early.
func (s *Service) Rotate(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, grace time.Duration) (webhook.Webhook, webhook.Secret, time.Time, error) {
	if grace < 0 || grace > MaxGrace {
		return webhook.Webhook{}, webhook.Secret{}, time.Time{}, webhook.Invalid("graceSeconds", "must be between 0 and 604800 (7 days)")
	}
	secret, err := s.secret("")
	if err != nil {
		return webhook.Webhook{}, webhook.Secret{}, time.Time{}, err
	}
	now := s.now()
	until := now.Add(grace)
	w, err := s.cfg.Webhooks.Rotate(ctx, tenant, id, secret, now, until)
	if err != nil {
		return webhook.Webhook{}, webhook.Secret{}, time.Time{}, err
	}
	return w, secret, until, nil
}

// Webhook returns a webhook, or NotFound.
func (s *Service) Webhook(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID) (webhook.Webhook, error) {
	return s.cfg.Webhooks.Get(ctx, tenant, id)
}

// WebhooksByID returns those of the webhooks that there are.
func (s *Service) WebhooksByID(ctx context.Context, tenant webhook.TenantID, ids []webhook.WebhookID) (map[webhook.WebhookID]webhook.Webhook, error) {
	return s.cfg.Webhooks.ByID(ctx, tenant, ids)
}

// Webhooks returns a page of the webhooks that pass the filter, newest first.
func (s *Service) Webhooks(ctx context.Context, tenant webhook.TenantID, f webhook.WebhookFilter, p webhook.Page[webhook.WebhookID]) (webhook.Slice[webhook.Webhook], error) {
	if err := checkSearch(f.Search); err != nil {
		return webhook.Slice[webhook.Webhook]{}, err
	}
	if err := checkLimit(p.Limit, p.Backward); err != nil {
		return webhook.Slice[webhook.Webhook]{}, err
	}
	return s.cfg.Webhooks.List(ctx, tenant, f, p)
}

// CountWebhooks returns how many webhooks pass the filter.
func (s *Service) CountWebhooks(ctx context.Context, tenant webhook.TenantID, f webhook.WebhookFilter) (int, error) {
	if err := checkSearch(f.Search); err != nil {
		return 0, err
	}
	return s.cfg.Webhooks.Count(ctx, tenant, f)
}

// checkSearch refuses what no stored text can hold and PostgreSQL would choke on.
func checkSearch(text string) error {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return webhook.Invalid("filter.search", "must be UTF-8 without control characters")
	}
	return nil
}

func checkLimit(limit int, backward bool) error {
	if limit >= 1 && limit <= webhook.MaxPageSize {
		return nil
	}
	field := "first"
	if backward {
		field = "last"
	}
	return webhook.Invalid(field, "must be between 1 and 100")
}
