package webhook

import (
	"crypto/subtle"
	"encoding/base64"
	"log/slog"
	"slices"
	"strings"
	"time"
)

const (
	secretPrefix   = "whsec_"
	minSecretBytes = 24
	maxSecretBytes = 64
	redacted       = "[redacted]"
)

// Secret is a signing key. Printed, logged or marshalled it says [redacted];
// the key leaves through Key and Reveal only (I7).
//
// The key hides in a closure: where fmt may not call String, in somebody's
// unexported field, it prints bytes and what pointers lead to, but no closure.
type Secret struct{ key func() []byte }

// ParseSecret reads `whsec_` + base64 of 24 to 64 bytes, as Standard Webhooks
// 1.0 has it. The error never repeats the input.
func ParseSecret(s string) (Secret, error) {
	encoded, ok := strings.CutPrefix(s, secretPrefix)
	if !ok {
		return Secret{}, Invalid("secret", "must start with whsec_")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded { // decoding skips line breaks
		return Secret{}, Invalid("secret", "must be whsec_ followed by standard base64")
	}
	return SecretFromKey(key)
}

// SecretFromKey wraps 24 to 64 bytes; a generated secret has 32.
func SecretFromKey(key []byte) (Secret, error) {
	if len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return Secret{}, Invalid("secret", "must be whsec_ followed by base64 of 24 to 64 bytes")
	}
	own := slices.Clone(key)
	return Secret{func() []byte { return own }}, nil
}

// Key returns the bytes that sign; nil for the zero Secret.
func (s Secret) Key() []byte {
	if s.key == nil {
		return nil
	}
	return s.key()
}

// Equal compares keys in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare(s.Key(), other.Key()) == 1
}

// Reveal returns the text form, for the one answer that creates the secret and
// for encryption at rest.
func (s Secret) Reveal() string { return secretPrefix + base64.StdEncoding.EncodeToString(s.Key()) }

// String returns [redacted].
func (s Secret) String() string { return redacted }

// GoString returns [redacted].
func (s Secret) GoString() string { return redacted }

// LogValue returns [redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted], also in JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SigningSecret is a secret with the time until which it signs.
type SigningSecret struct {
	Secret Secret
	// ExpiresAt is zero for the current secret.
	ExpiresAt time.Time
}

// Live returns the secrets that sign at now, the current one first.
func Live(secrets []SigningSecret, now time.Time) []Secret {
	live := make([]Secret, 0, len(secrets))
	for _, s := range secrets {
		if s.ExpiresAt.IsZero() || now.Before(s.ExpiresAt) {
			live = append(live, s.Secret)
		}
	}
	return live
}
