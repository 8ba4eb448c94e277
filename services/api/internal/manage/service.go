// Package manage is what people do with webhooks and their deliveries: create,
// change, test, rotate, delete, look, retry.
//
// It promises that every call is confined to the tenant it was given (I5), that
// what breaks a rule changes nothing and is a *webhook.Error or webhook.Errors
// whose field paths start at the input, and that a secret is returned by the one
// call that makes it and by no other (I7). What must be rung for is rung for
// after the commit, and Redis has no say in any answer.
package manage

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// WebhookReader reads webhooks; a deleted one is not found.
type WebhookReader interface {
	Get(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID) (webhook.Webhook, error)
	ByID(ctx context.Context, tenant webhook.TenantID, ids []webhook.WebhookID) (map[webhook.WebhookID]webhook.Webhook, error)
	List(ctx context.Context, tenant webhook.TenantID, f webhook.WebhookFilter, p webhook.Page[webhook.WebhookID]) (webhook.Slice[webhook.Webhook], error)
	Count(ctx context.Context, tenant webhook.TenantID, f webhook.WebhookFilter) (int, error)
}

// WebhookWriter changes webhooks, each call in one transaction.
type WebhookWriter interface {
	Create(ctx context.Context, w webhook.Webhook, secret webhook.Secret) error
	Update(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, now time.Time,
		change func(webhook.Webhook) (webhook.Webhook, error)) (webhook.Webhook, error)
	Delete(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, now time.Time) error
	Rotate(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, secret webhook.Secret, now, until time.Time) (webhook.Webhook, error)
}

// WebhookStore keeps webhooks.
type WebhookStore interface {
	WebhookReader
	WebhookWriter
}

// DeliveryReader reads deliveries and what belongs to them.
type DeliveryReader interface {
	Get(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, error)
	List(ctx context.Context, tenant webhook.TenantID, f webhook.DeliveryFilter, p webhook.Page[webhook.DeliveryID]) (webhook.Slice[webhook.Delivery], error)
	Count(ctx context.Context, tenant webhook.TenantID, f webhook.DeliveryFilter) (int, error)
	// Attempts and Payloads load nothing, and return webhook.ErrLimitExceeded, when
	// all together have more than most bytes.
	Attempts(ctx context.Context, tenant webhook.TenantID, ids []webhook.DeliveryID, most int) (map[webhook.DeliveryID][]webhook.Attempt, error)
	Payloads(ctx context.Context, tenant webhook.TenantID, ids []webhook.EventID, most int) (map[webhook.EventID]string, error)
	Stats(ctx context.Context, tenant webhook.TenantID, hook *webhook.WebhookID, p webhook.Period) (webhook.Stats, error)
	StatsByWebhook(ctx context.Context, tenant webhook.TenantID, hooks []webhook.WebhookID, p webhook.Period) (map[webhook.WebhookID]webhook.Stats, error)
	Size(ctx context.Context, tenant webhook.TenantID, most int) (int, error)
}

// Retrier gives a failed delivery a fresh budget. It returns what to ring for,
// nil when the delivery has to wait for its turn.
type Retrier interface {
	Retry(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (webhook.Delivery, *webhook.Owed, error)
}

// DeliveryStore keeps deliveries.
type DeliveryStore interface {
	DeliveryReader
	Retrier
}

// TestStore keeps test sends until a worker takes them.
type TestStore interface {
	// Ask also returns how long the webhook's receiver may take.
	Ask(ctx context.Context, hook webhook.WebhookID, e webhook.Event) (webhook.Owed, time.Duration, error)
	// Cancel reports whether the test will never be sent because of it.
	Cancel(ctx context.Context, tenant webhook.TenantID, id webhook.DeliveryID) (bool, error)
}

// Lanes admits what is due while windows have room, and returns what to ring for.
type Lanes interface {
	Fill(ctx context.Context, hooks []webhook.WebhookID) ([]webhook.Owed, error)
}

// Doorbell rings for deliveries; it never blocks and never fails.
type Doorbell interface {
	Ring(owed []webhook.Owed)
	RingReplay(owed []webhook.Owed)
}

// Config is what a Service needs.
type Config struct {
	Webhooks   WebhookStore
	Deliveries DeliveryStore
	Tests      TestStore
	Lanes      Lanes
	Doorbell   Doorbell
	Rules      webhook.URLRules
	Log        *slog.Logger
	Now        func() time.Time
	// Random is where secrets and ids come from; nil means crypto/rand.
	Random io.Reader
}

// Service holds the use cases. It keeps no state and runs nothing in the
// background.
type Service struct{ cfg Config }

// New makes a Service.
func New(cfg Config) *Service {
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	return &Service{cfg: cfg}
}

// now is the time as ids and answers carry it, so that what is returned is what
// is stored.
func (s *Service) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Millisecond) }

func (s *Service) random() (b [10]byte, err error) {
	_, err = io.ReadFull(s.cfg.Random, b[:])
	return b, err
}
