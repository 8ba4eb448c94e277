package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// destination is the half of a claim that is the same for all deliveries of a
// webhook, opened and ready for use.
type destination struct {
	url     string
	headers []webhook.Header
	secrets []webhook.SigningSecret
	policy  webhook.Policy
	fault   error
}

// destinations keeps what was read of webhooks' rows, by the version of the row
// that each claim names: reading and unsealing it for each delivery would cost
// more than the claim. A change of the row is a new version, so nothing here is
// ever out of date.
type destinations struct {
	stmts  *prepared
	opener Opener

	mu    sync.Mutex
	known map[version]destination
}

// version is a webhook's row as one transaction left it.
type version struct{ webhook, xmin string }

// errNoWebhook is the fault of a claim whose webhook vanished since.
var errNoWebhook = errors.New("the webhook's row is gone")

// maxDestinations bounds the memory; when it is full, it starts over.
const maxDestinations = 10_000

const selectDestinations = `
SELECT id, xmin::text AS xmin, tenant_id, url, headers_sealed, secrets_sealed, secrets_expire_at,
	max_attempts, timeout_ms, initial_backoff_ms
FROM webhooks WHERE id = ANY ($1::uuid[])`

type destinationRow struct {
	ID               string         `db:"id"`
	Xmin             string         `db:"xmin"`
	TenantID         string         `db:"tenant_id"`
	URL              string         `db:"url"`
	HeadersSealed    *string        `db:"headers_sealed"`
	SecretsSealed    pq.StringArray `db:"secrets_sealed"`
	SecretsExpireAt  pq.StringArray `db:"secrets_expire_at"`
	MaxAttempts      int            `db:"max_attempts"`
	TimeoutMs        int            `db:"timeout_ms"`
	InitialBackoffMs int            `db:"initial_backoff_ms"`
}

// of returns the destination of each wanted version, by webhook. A row that
// changed since it was claimed gives its present content, which is fresher. When
// rows cannot be read, that is the fault of each: what is claimed is claimed,
// and has to be released.
func (d *destinations) of(ctx context.Context, wanted map[version]bool) map[string]destination {
	found := make(map[string]destination, len(wanted))
	var missing []string
	d.mu.Lock()
	for v := range wanted {
		if dest, ok := d.known[v]; ok {
			found[v.webhook] = dest
		} else {
			missing = append(missing, v.webhook)
		}
	}
	d.mu.Unlock()
	if len(missing) == 0 {
		return found
	}
	rows, err := d.read(ctx, missing)
	if err != nil {
		for _, id := range missing {
			found[id] = destination{fault: err}
		}
		return found
	}
	for _, id := range missing {
		found[id] = destination{fault: errNoWebhook} // unless it is among the rows
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known)+len(rows) > maxDestinations {
		clear(d.known)
	}
	for _, row := range rows {
		dest := row.destination(d.opener)
		found[row.ID] = dest
		if dest.fault == nil { // an operator may mend a fault without touching the row
			d.known[version{row.ID, row.Xmin}] = dest
		}
	}
	return found
}

func (d *destinations) read(ctx context.Context, ids []string) (rows []destinationRow, err error) {
	err = d.stmts.selectAll(ctx, &rows, selectDestinations, pq.Array(ids))
	return rows, dbError("reading webhooks to send to", err)
}

// destination opens a row. What cannot be opened is the fault of this webhook,
// not of others that are claimed with it.
func (r destinationRow) destination(opener Opener) destination {
	d := destination{url: r.URL, policy: webhook.Policy{
		MaxAttempts:    r.MaxAttempts,
		Timeout:        time.Duration(r.TimeoutMs) * time.Millisecond,
		InitialBackoff: time.Duration(r.InitialBackoffMs) * time.Millisecond,
	}}
	id, err := webhook.WebhookIDFromUUID(r.ID)
	if err != nil {
		d.fault = fmt.Errorf("reading webhook %s: %w", r.ID, err)
		return d
	}
	tenant := webhook.TenantID(r.TenantID)
	if d.secrets, d.fault = OpenSecrets(opener, tenant, id, r.SecretsSealed, r.SecretsExpireAt); d.fault == nil {
		d.headers, d.fault = OpenHeaders(opener, tenant, id, r.HeadersSealed)
	}
	return d
}
