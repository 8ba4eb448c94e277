package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// RekeyKeys knows several keys, of which the first one seals; a seal.Keyring does.
type RekeyKeys interface {
	Keys
	IDs() []string
	NeedsReseal(sealed string) bool
}

// Rekey seals anew what another key than the first has sealed, so that the
// others can be dropped. It works for all tenants, on deleted webhooks, too:
// their last deliveries may be on their way.
//
// It may be interrupted and repeated, and may run while everything else does: a
// row is written only if its sealed values are still those that were read, and
// a row's new version makes workers read it again. Nothing that customers see
// changes.
type Rekey struct {
	db   *sqlx.DB
	keys RekeyKeys
}

// NewRekey makes one; any pool will do.
func NewRekey(db *sqlx.DB, keys RekeyKeys) *Rekey { return &Rekey{db: db, keys: keys} }

// Rekeyed is how far a Rekey is.
type Rekeyed struct {
	// Webhooks counts rows, Secrets and Headers their values that were sealed anew.
	Webhooks, Secrets, Headers int
	// Failed counts webhooks with a value that does not open; Faults are the first few.
	Failed int
	Faults []error
}

const (
	rekeyBatch = 100
	// maxFaults is enough to see what is wrong: usually one key is missing.
	maxFaults = 10

	// A sealed value's second part is its key's id. Values of no such form count
	// as another key's, and then fail to open.
	otherKey = ` EXISTS (SELECT FROM unnest(array_append(secrets_sealed, headers_sealed)) AS s WHERE split_part(s, '.', 2) <> $1)`

	countToRekey   = `SELECT count(*) FROM webhooks WHERE` + otherKey
	rekeyColumns   = `SELECT id, tenant_id, headers_sealed, secrets_sealed FROM webhooks WHERE`
	selectToRekey  = rekeyColumns + otherKey + ` AND id > $2 ORDER BY id LIMIT $3`
	selectOneAgain = rekeyColumns + otherKey + ` AND id = $2`

	rekeyWebhook = `
UPDATE webhooks SET headers_sealed = $3, secrets_sealed = $4
WHERE tenant_id = $1 AND id = $2 AND headers_sealed IS NOT DISTINCT FROM $5 AND secrets_sealed = $6::text[]`
)

type rekeyRow struct {
	ID            string         `db:"id"`
	TenantID      string         `db:"tenant_id"`
	HeadersSealed *string        `db:"headers_sealed"`
	SecretsSealed pq.StringArray `db:"secrets_sealed"`
}

// Count returns how many webhooks another key than the first is needed for.
func (r *Rekey) Count(ctx context.Context) (n int, err error) {
	first, err := r.first()
	if err != nil {
		return 0, err
	}
	err = r.db.GetContext(ctx, &n, countToRekey, first)
	return n, dbError("counting webhooks to seal anew", err)
}

func (r *Rekey) first() (string, error) {
	ids := r.keys.IDs()
	if len(ids) == 0 {
		return "", errors.New("there is no key to seal with")
	}
	return ids[0], nil
}

// Run seals anew whatever needs it, or, on a dry run, only counts it and makes
// sure that it opens. It tells progress after each batch. A webhook whose values
// do not open is counted, left as it is, and stops nobody. What was done before
// an error stays done.
func (r *Rekey) Run(ctx context.Context, dry bool, progress func(Rekeyed)) (done Rekeyed, err error) {
	first, err := r.first()
	if err != nil {
		return done, err
	}
	after := "00000000-0000-0000-0000-000000000000"
	for {
		var rows []rekeyRow
		if err := r.db.SelectContext(ctx, &rows, selectToRekey, first, after, rekeyBatch); err != nil {
			return done, dbError("reading webhooks to seal anew", err)
		}
		for _, row := range rows {
			if err := r.row(ctx, row, first, dry, &done); err != nil {
				return done, err
			}
			after = row.ID
		}
		progress(done)
		if len(rows) < rekeyBatch {
			return done, nil
		}
	}
}

// row seals one row's values anew; when somebody changed them meanwhile, those
// that are there now.
func (r *Rekey) row(ctx context.Context, row rekeyRow, first string, dry bool, done *Rekeyed) error {
	for {
		headers, secrets, fault := r.anew(row)
		if fault != nil {
			done.failed(fault)
			return nil
		}
		written := dry
		if !dry {
			result, err := r.db.ExecContext(ctx, rekeyWebhook, row.TenantID, row.ID, headers, secrets, row.HeadersSealed, row.SecretsSealed)
			if err != nil {
				return dbError("storing what was sealed anew", err)
			}
			n, err := result.RowsAffected()
			if err != nil {
				return dbError("storing what was sealed anew", err)
			}
			written = n == 1
		}
		if written {
			done.count(row, headers, secrets)
			return nil
		}
		err := r.db.GetContext(ctx, &row, selectOneAgain, first, row.ID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // it needs nothing any more, or is gone
		}
		if err != nil {
			return dbError("reading a webhook again", err)
		}
	}
}

// anew returns what the row's sealed columns are to be.
func (r *Rekey) anew(row rekeyRow) (headers *string, secrets pq.StringArray, err error) {
	secrets = make(pq.StringArray, len(row.SecretsSealed))
	for i, sealed := range row.SecretsSealed {
		if secrets[i], err = r.value(row, secretColumn, sealed); err != nil {
			return nil, nil, err
		}
	}
	if row.HeadersSealed != nil {
		sealed, err := r.value(row, headersColumn, *row.HeadersSealed)
		if err != nil {
			return nil, nil, err
		}
		headers = &sealed
	}
	return headers, secrets, nil
}

func (r *Rekey) value(row rekeyRow, column, sealed string) (string, error) {
	plain, err := r.keys.Open(sealed, row.TenantID, row.ID, column)
	if err != nil {
		return "", row.fault(column, err)
	}
	if !r.keys.NeedsReseal(sealed) {
		return sealed, nil
	}
	anew, err := r.keys.Seal(plain, row.TenantID, row.ID, column)
	if err != nil {
		return "", row.fault(column, err)
	}
	return anew, nil
}

func (r rekeyRow) fault(column string, err error) error {
	name := r.ID
	if id, parseErr := webhook.WebhookIDFromUUID(r.ID); parseErr == nil {
		name = id.String()
	}
	return fmt.Errorf("webhook %s, %s: %w", name, column, err)
}

func (d *Rekeyed) failed(fault error) {
	d.Failed++
	if len(d.Faults) < maxFaults {
		d.Faults = append(d.Faults, fault)
	}
}

func (d *Rekeyed) count(before rekeyRow, headers *string, secrets []string) {
	d.Webhooks++
	for i := range secrets {
		if secrets[i] != before.SecretsSealed[i] {
			d.Secrets++
		}
	}
	if headers != nil && *headers != *before.HeadersSealed {
		d.Headers++
	}
}

const selectSeals = `
SELECT split_part(s, '.', 2) AS key_id, count(DISTINCT id) AS webhooks
FROM webhooks, unnest(array_append(secrets_sealed, headers_sealed)) AS s
WHERE s IS NOT NULL GROUP BY 1 ORDER BY 1`

// InspectSeals returns, by the id of a key, how many webhooks need it, over all
// tenants and deleted ones included.
func InspectSeals(ctx context.Context, db *sqlx.DB) (map[string]int, error) {
	var rows []struct {
		KeyID    string `db:"key_id"`
		Webhooks int    `db:"webhooks"`
	}
	if err := db.SelectContext(ctx, &rows, selectSeals); err != nil {
		return nil, dbError("looking for the keys in use", err)
	}
	needed := make(map[string]int, len(rows))
	for _, row := range rows {
		needed[row.KeyID] = row.Webhooks
	}
	return needed, nil
}
