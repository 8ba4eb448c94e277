package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const idempotencyTTL = 24 * time.Hour

// selectKeys finds the keys that were used within their time to live.
const selectKeys = `
SELECT k.n, i.event_id, i.body_hash,
	(SELECT count(*) FROM deliveries d WHERE d.event_id = i.event_id) AS deliveries
FROM unnest($1::int[], $2::text[], $3::text[]) AS k (n, tenant_id, key)
JOIN idempotency_keys i ON i.tenant_id = k.tenant_id AND i.key = k.key
WHERE i.created_at > now() - make_interval(secs => $4)`

// insertKeys claims keys; one that is in use, and not expired, is left out of
// the count of rows.
const insertKeys = `
INSERT INTO idempotency_keys AS i (tenant_id, key, body_hash, event_id)
SELECT tenant_id, key, decode(hash, 'hex'), event_id
FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[]) AS k (tenant_id, key, hash, event_id)
ORDER BY tenant_id, key
ON CONFLICT (tenant_id, key) DO UPDATE
	SET body_hash = excluded.body_hash, event_id = excluded.event_id, created_at = now()
	WHERE i.created_at <= now() - make_interval(secs => $5)`

// errRaced says that another transaction took one of the keys since they were
// looked up; starting over, the caller sees it.
var errRaced = errors.New("an idempotency key was taken meanwhile")

type knownKey struct {
	N          int    `db:"n"`
	EventID    string `db:"event_id"`
	BodyHash   []byte `db:"body_hash"`
	Deliveries int    `db:"deliveries"`
}

func anyKeys(batch []webhook.Submission) bool {
	for _, sub := range batch {
		for _, e := range sub.Events {
			if e.IdempotencyKey != "" {
				return true
			}
		}
	}
	return false
}

func lookUpKeys(ctx context.Context, tx *sqlx.Tx, batch []webhook.Submission) (map[int]knownKey, error) {
	var ns []int
	var tenants, keys []string
	for n, e := range flatten(batch) {
		if e.IdempotencyKey != "" {
			ns, tenants, keys = append(ns, n), append(tenants, string(e.Event.Tenant)), append(keys, e.IdempotencyKey)
		}
	}
	var rows []knownKey
	err := tx.SelectContext(ctx, &rows, selectKeys, pq.Array(ns), pq.Array(tenants), pq.Array(keys), idempotencyTTL.Seconds())
	if err != nil {
		return nil, dbError("looking up idempotency keys", err)
	}
	known := make(map[int]knownKey, len(rows))
	for _, row := range rows {
		known[row.N] = row
	}
	return known, nil
}

func conflictingKey(events, index int) error {
	err := webhook.Conflict("idempotencyKey", "was used within 24 hours with another body")
	if events == 1 {
		return err
	}
	return err.Under(strconv.Itoa(index))
}

// claimKeys takes the keys of fresh, or returns errRaced.
func claimKeys(ctx context.Context, tx *sqlx.Tx, fresh []submitted) error {
	var tenants, keys, hashes, events []string
	for _, e := range fresh {
		if e.IdempotencyKey != "" {
			tenants, keys = append(tenants, string(e.Event.Tenant)), append(keys, e.IdempotencyKey)
			hashes, events = append(hashes, hex.EncodeToString(e.Fingerprint[:])), append(events, e.Event.ID.UUID())
		}
	}
	if len(keys) == 0 {
		return nil
	}
	res, err := tx.ExecContext(ctx, insertKeys, pq.Array(tenants), pq.Array(keys), pq.Array(hashes), pq.Array(events), idempotencyTTL.Seconds())
	if err != nil {
		return dbError("claiming idempotency keys", err)
	}
	n, err := res.RowsAffected()
	if err == nil && int(n) != len(keys) {
		return errRaced
	}
	return dbError("claiming idempotency keys", err)
}
