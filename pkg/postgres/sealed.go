package postgres

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Opener reads what a Sealer made unreadable (I7). The additional data ties a
// sealed text to its tenant, webhook and column, so that rows cannot be swapped.
type Opener interface {
	Open(sealed string, aad ...string) ([]byte, error)
}

// Sealer makes secrets unreadable at rest.
type Sealer interface {
	Seal(plaintext []byte, aad ...string) (string, error)
}

const (
	secretColumn  = "secrets_sealed"
	headersColumn = "headers_sealed"

	never = "infinity"
	// pgTime is how PostgreSQL prints a timestamptz when its time zone is UTC.
	pgTime = "2006-01-02 15:04:05.999999-07"
)

// SealSecret is OpenSecrets' twin, for one secret.
func SealSecret(k Sealer, tenant webhook.TenantID, hook webhook.WebhookID, s webhook.Secret) (string, error) {
	return k.Seal([]byte(s.Reveal()), string(tenant), hook.UUID(), secretColumn)
}

// OpenSecrets unseals the parallel arrays of a webhooks row.
func OpenSecrets(k Opener, tenant webhook.TenantID, hook webhook.WebhookID, sealed, expireAt []string) ([]webhook.SigningSecret, error) {
	if len(sealed) != len(expireAt) {
		return nil, fmt.Errorf("webhook %s has %d secrets and %d expiry times", hook, len(sealed), len(expireAt))
	}
	secrets := make([]webhook.SigningSecret, len(sealed))
	for i := range sealed {
		text, err := k.Open(sealed[i], string(tenant), hook.UUID(), secretColumn)
		if err != nil {
			return nil, fmt.Errorf("opening a secret of webhook %s: %w", hook, err)
		}
		if secrets[i].Secret, err = webhook.ParseSecret(string(text)); err != nil {
			return nil, fmt.Errorf("opening a secret of webhook %s: %w", hook, err)
		}
		if expireAt[i] == never {
			continue
		}
		if secrets[i].ExpiresAt, err = time.Parse(pgTime, expireAt[i]); err != nil {
			return nil, fmt.Errorf("reading when a secret of webhook %s expires: %w", hook, err)
		}
	}
	return secrets, nil
}

// SealHeaders is OpenHeaders' twin; no headers are stored as NULL.
func SealHeaders(k Sealer, tenant webhook.TenantID, hook webhook.WebhookID, headers []webhook.Header) (*string, error) {
	if len(headers) == 0 {
		return nil, nil
	}
	plain, err := json.Marshal(headers)
	if err != nil {
		return nil, err
	}
	sealed, err := k.Seal(plain, string(tenant), hook.UUID(), headersColumn)
	return &sealed, err
}

// OpenHeaders unseals custom headers; their values may be credentials.
func OpenHeaders(k Opener, tenant webhook.TenantID, hook webhook.WebhookID, sealed *string) ([]webhook.Header, error) {
	if sealed == nil {
		return nil, nil
	}
	plain, err := k.Open(*sealed, string(tenant), hook.UUID(), headersColumn)
	if err != nil {
		return nil, fmt.Errorf("opening the headers of webhook %s: %w", hook, err)
	}
	var headers []webhook.Header
	if err := json.Unmarshal(plain, &headers); err != nil {
		return nil, fmt.Errorf("reading the headers of webhook %s: %w", hook, err)
	}
	return headers, nil
}
