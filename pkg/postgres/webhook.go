package postgres

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Keys seals and unseals; a seal.Keyring does.
type Keys interface {
	Sealer
	Opener
}

// Webhooks keeps webhooks, their subscriptions, and the state of their lanes in
// step. A deleted webhook is not found by any method.
//
// Whoever needs several rows locks them in this order: webhooks, lanes,
// pending_deliveries; those of one table by id.
type Webhooks struct {
	db   *sqlx.DB
	keys Keys
}

// NewWebhooks makes a store; any pool will do. Signing secrets and headers pass
// through keys on their way in, headers on their way out (I7).
func NewWebhooks(db *sqlx.DB, keys Keys) *Webhooks { return &Webhooks{db: db, keys: keys} }

const (
	// lockTenant makes the creations of one tenant queue, so that they cannot
	// pass the limit together. The class keeps it apart from other locks.
	lockTenant      = `SELECT pg_advisory_xact_lock(7238915, hashtext($1))`
	countOfTenant   = `SELECT count(*) FROM webhooks WHERE tenant_id = $1 AND deleted_at IS NULL`
	insertLane      = `INSERT INTO lanes (tenant_id, webhook_id) VALUES ($1, $2)`
	subscribe       = `INSERT INTO subscriptions (tenant_id, webhook_id, pattern) SELECT $1, $2, unnest($3::text[])`
	unsubscribeFrom = `DELETE FROM subscriptions WHERE tenant_id = $1 AND webhook_id = $2`
	insertWebhook   = `
INSERT INTO webhooks (tenant_id, id, name, description, url, events, patterns, headers_sealed,
	secrets_sealed, secrets_expire_at, status, status_reason,
	max_attempts, timeout_ms, initial_backoff_ms, api_version, created_by, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, ARRAY[$9::text], ARRAY['infinity'::timestamptz], 'active', '', $10, $11, $12, $13, $14, $15, $15)`
)

// Create stores a new, active webhook and what it subscribes to: events accepted
// after its commit are owed to it. One more than MaxWebhooksPerTenant is a
// LimitExceeded error.
func (s *Webhooks) Create(ctx context.Context, w webhook.Webhook, secret webhook.Secret) error {
	headers, err := SealHeaders(s.keys, w.Tenant, w.ID, w.Headers)
	if err != nil {
		return err
	}
	sealed, err := SealSecret(s.keys, w.Tenant, w.ID, secret)
	if err != nil {
		return err
	}
	return inTx(ctx, s.db, func(tx *sqlx.Tx) error {
		if err := makeRoom(ctx, tx, w.Tenant); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, insertWebhook, w.Tenant, w.ID.UUID(), w.Name, w.Description, w.URL,
			eventNames(w.Events), patternTexts(w.Patterns), headers, sealed, w.Policy.MaxAttempts,
			w.Policy.Timeout.Milliseconds(), w.Policy.InitialBackoff.Milliseconds(), w.APIVersion, w.CreatedBy, w.CreatedAt)
		if err != nil {
			return dbError("storing webhook", err)
		}
		if _, err := tx.ExecContext(ctx, insertLane, w.Tenant, w.ID.UUID()); err != nil {
			return dbError("making a lane", err)
		}
		return subscribeTo(ctx, tx, w)
	})
}

func makeRoom(ctx context.Context, tx *sqlx.Tx, tenant webhook.TenantID) error {
	if _, err := tx.ExecContext(ctx, lockTenant, tenant); err != nil {
		return dbError("queueing to create a webhook", err)
	}
	var n int
	if err := tx.GetContext(ctx, &n, countOfTenant, tenant); err != nil {
		return dbError("counting webhooks", err)
	}
	if n >= webhook.MaxWebhooksPerTenant {
		return webhook.LimitExceeded("", "a tenant can have at most 100 webhooks")
	}
	return nil
}

func subscribeTo(ctx context.Context, tx *sqlx.Tx, w webhook.Webhook) error {
	_, err := tx.ExecContext(ctx, subscribe, w.Tenant, w.ID.UUID(), patternTexts(w.Subscriptions()))
	return dbError("subscribing", err)
}

const (
	lockWebhook = selectWebhook + ` FOR UPDATE`

	updateWebhook = `
UPDATE webhooks SET name = $3, description = $4, url = $5, events = $6, patterns = $7, headers_sealed = $8,
	status = $9, status_reason = $10, max_attempts = $11, timeout_ms = $12, initial_backoff_ms = $13, updated_at = $14
WHERE tenant_id = $1 AND id = $2`

	// openLane and forgiveLane forget what the receiver asked for and how it
	// failed: somebody saw to it, or another one answers at the new URL.
	openLane    = `UPDATE lanes SET open = true, ` + forgiven + ` WHERE tenant_id = $1 AND webhook_id = $2 AND NOT deleted`
	forgiveLane = `UPDATE lanes SET ` + forgiven + ` WHERE tenant_id = $1 AND webhook_id = $2`
	forgiven    = `quiet_until = NULL, eased = NULL, failing_since = NULL, failed_at = NULL, failures = 0`
)

// Update replaces a webhook by what change makes of it, at the time now, and
// returns the result; an error of change is returned and changes nothing.
//
// A webhook that stops being active takes back the slots of deliveries that
// nobody is sending; one that becomes active only opens its lane: call
// Work.Fill for what was held. Then, and with another URL, it is quiet no more, has
// its whole window, and counts its failures from none.
// New attempt limits are for new deliveries.
func (s *Webhooks) Update(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, now time.Time,
	change func(webhook.Webhook) (webhook.Webhook, error),
) (webhook.Webhook, error) {
	var after webhook.Webhook
	err := inTx(ctx, s.db, func(tx *sqlx.Tx) error {
		before, err := s.get(ctx, tx, lockWebhook, tenant, id)
		if err != nil {
			return err
		}
		if after, err = change(before); err != nil || reflect.DeepEqual(before, after) {
			return err
		}
		after.UpdatedAt = now
		if err := s.write(ctx, tx, after); err != nil {
			return err
		}
		if err := keepSubscriptions(ctx, tx, before, after); err != nil {
			return err
		}
		return keepLane(ctx, tx, before, after)
	})
	if err != nil {
		return webhook.Webhook{}, err
	}
	return after, nil
}

func (s *Webhooks) write(ctx context.Context, tx *sqlx.Tx, w webhook.Webhook) error {
	headers, err := SealHeaders(s.keys, w.Tenant, w.ID, w.Headers)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, updateWebhook, w.Tenant, w.ID.UUID(), w.Name, w.Description, w.URL,
		eventNames(w.Events), patternTexts(w.Patterns), headers, w.Status, w.StatusReason, w.Policy.MaxAttempts,
		w.Policy.Timeout.Milliseconds(), w.Policy.InitialBackoff.Milliseconds(), w.UpdatedAt)
	return dbError("updating webhook", err)
}

func keepSubscriptions(ctx context.Context, tx *sqlx.Tx, before, after webhook.Webhook) error {
	if slices.Equal(before.Subscriptions(), after.Subscriptions()) {
		return nil
	}
	if _, err := tx.ExecContext(ctx, unsubscribeFrom, after.Tenant, after.ID.UUID()); err != nil {
		return dbError("unsubscribing", err)
	}
	return subscribeTo(ctx, tx, after)
}

// keepLane opens or closes the lane when the status asks for it.
func keepLane(ctx context.Context, tx *sqlx.Tx, before, after webhook.Webhook) error {
	wasActive, isActive := before.Status == webhook.Active, after.Status == webhook.Active
	switch {
	case wasActive && !isActive:
		return closeLanesTx(ctx, tx, []string{after.ID.UUID()}, false)
	case !wasActive && isActive:
		_, err := tx.ExecContext(ctx, openLane, after.Tenant, after.ID.UUID())
		return dbError("opening a lane", err)
	case before.URL != after.URL:
		_, err := tx.ExecContext(ctx, forgiveLane, after.Tenant, after.ID.UUID())
		return dbError("forgiving a lane", err)
	default:
		return nil
	}
}

const deleteWebhook = `
UPDATE webhooks SET deleted_at = $3, updated_at = $3 WHERE tenant_id = $1 AND id = $2`

// Delete takes a webhook out of everybody's sight. Events accepted from now on
// owe it nothing; the relay finishes what it is still owed. Its deliveries stay
// in the log.
func (s *Webhooks) Delete(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, now time.Time) error {
	return inTx(ctx, s.db, func(tx *sqlx.Tx) error {
		if _, err := getRow(ctx, tx, lockWebhook, tenant, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, deleteWebhook, tenant, id.UUID(), now); err != nil {
			return dbError("deleting webhook", err)
		}
		if _, err := tx.ExecContext(ctx, unsubscribeFrom, tenant, id.UUID()); err != nil {
			return dbError("unsubscribing", err)
		}
		return closeLanesTx(ctx, tx, []string{id.UUID()}, true)
	})
}

// rotateSecrets puts a secret in front, gives the one that was current an end
// ($5), and drops those whose time has come ($4) and whatever is beyond ten. An
// end that is no later than now is one for all former secrets: who rotates so
// has lost them.
const rotateSecrets = `
UPDATE webhooks SET updated_at = $4,
	(secrets_sealed, secrets_expire_at) = (
		SELECT array_agg(sealed ORDER BY n), array_agg(expires ORDER BY n) FROM (
			SELECT 0 AS n, $3::text AS sealed, 'infinity'::timestamptz AS expires
			UNION ALL
			SELECT n, sealed, CASE n WHEN 1 THEN $5 ELSE expires END
			FROM unnest(secrets_sealed, secrets_expire_at) WITH ORDINALITY AS former (sealed, expires, n)
			WHERE $5 > $4 AND CASE n WHEN 1 THEN $5 ELSE expires END > $4
			ORDER BY n LIMIT 10
		) kept)
WHERE tenant_id = $1 AND id = $2 AND deleted_at IS NULL`

// Rotate makes secret the current one. The former one signs, too, until the
// given time, and so do earlier ones until theirs; ten secrets at most are kept.
// When the given time is not after now, all former ones end at once.
func (s *Webhooks) Rotate(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, secret webhook.Secret, now, until time.Time) (webhook.Webhook, error) {
	sealed, err := SealSecret(s.keys, tenant, id, secret)
	if err != nil {
		return webhook.Webhook{}, err
	}
	var w webhook.Webhook
	err = inTx(ctx, s.db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, rotateSecrets, tenant, id.UUID(), sealed, now, until); err != nil {
			return dbError("rotating secrets", err)
		}
		w, err = s.get(ctx, tx, selectWebhook, tenant, id) // not found here when not found there
		return err
	})
	return w, err
}

func eventNames(types []webhook.EventType) any {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.String()
	}
	return pq.Array(names)
}

func patternTexts(patterns []webhook.Pattern) any {
	texts := make([]string, len(patterns))
	for i, p := range patterns {
		texts[i] = p.String()
	}
	return pq.Array(texts)
}
