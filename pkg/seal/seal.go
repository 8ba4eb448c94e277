// Package seal encrypts small secrets for storage, with AES-256-GCM.
//
// A sealed value opens under the same associated data only, so a row's secret
// cannot be moved to another row, tenant or column (I7). It names its key, so
// several keys are valid at once: the first of a Keyring encrypts, all decrypt,
// and NeedsReseal tells what to encrypt anew before a key is dropped.
//
// It hides neither the length of a secret nor that two rows were sealed with the
// same key. A nonce is random: one key is good for 2^32 values.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

const (
	keyBytes = 32
	idLength = 8
	version  = "v1"
	redacted = "[redacted]"
)

// What goes wrong, to compare with errors.Is.
var (
	// ErrUnknownKey: the value was sealed with a key that is not in the ring.
	ErrUnknownKey = errors.New("no such encryption key")
	// ErrMalformed: the value is not one that Seal made.
	ErrMalformed = errors.New("sealed value is malformed")
	// ErrTampered: the value was changed, or belongs to other associated data.
	ErrTampered = errors.New("sealed value does not belong here")
	errNoKey    = errors.New("keyring is empty")
)

var encoding = base64.StdEncoding.Strict() //nolint:gochecknoglobals // never assigned

// Keyring holds the keys that open sealed values; the first also seals. It is safe
// for concurrent use. Printed, logged or marshalled it says [redacted].
type Keyring struct {
	// Pointers: where fmt may not call String, in somebody's unexported field,
	// it prints addresses.
	keys []*key
}

type key struct {
	id   string
	aead cipher.AEAD
}

// ParseKeys reads comma-separated standard base64 of 32 bytes each. An error
// names the position of the key at fault, from 1, and never the key.
func ParseKeys(csv string) (Keyring, error) {
	var ring Keyring
	for i, text := range strings.Split(csv, ",") {
		k, err := parseKey(strings.TrimSpace(text))
		if err != nil {
			return Keyring{}, fmt.Errorf("encryption key %d %w", i+1, err)
		}
		if j := ring.index(k.id); j >= 0 {
			return Keyring{}, fmt.Errorf("encryption key %d repeats key %d", i+1, j+1)
		}
		ring.keys = append(ring.keys, k)
	}
	return ring, nil
}

func parseKey(text string) (*key, error) {
	if text == "" {
		return nil, errors.New("is empty")
	}
	raw, err := encoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("is not standard base64") // the cause quotes no input, but says where it went wrong
	}
	if len(raw) != keyBytes {
		return nil, fmt.Errorf("has %d bytes, want %d", len(raw), keyBytes)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	return &key{id: hex.EncodeToString(sum[:])[:idLength], aead: aead}, nil
}

// Seal encrypts plaintext so that it opens under the same aad only. The result is
// printable: v1.<key id>.<base64 of nonce and ciphertext>.
func (r Keyring) Seal(plaintext []byte, aad ...string) (string, error) {
	if len(r.keys) == 0 {
		return "", errNoKey
	}
	k := r.keys[0]
	box := k.aead.Seal(nil, nil, plaintext, join(aad)) //nolint:gosec // this AEAD makes a random nonce itself
	return version + "." + k.id + "." + encoding.EncodeToString(box), nil
}

// Open returns what was sealed under aad. Its errors name key ids, never values.
func (r Keyring) Open(sealed string, aad ...string) ([]byte, error) {
	id, payload, err := split(sealed)
	if err != nil {
		return nil, err
	}
	i := r.index(id)
	if i < 0 {
		return nil, fmt.Errorf("%w: the value was sealed with key %s, which is not among the configured ones", ErrUnknownKey, id)
	}
	box, err := encoding.DecodeString(payload)
	if err != nil || encoding.EncodedLen(len(box)) != len(payload) { // decoding skips line breaks
		return nil, ErrMalformed
	}
	plaintext, err := r.keys[i].aead.Open(nil, nil, box, join(aad))
	if err != nil {
		return nil, ErrTampered
	}
	return plaintext, nil
}

// IDs names the keys, in the ring's order: the first is the one that seals. An id
// tells nothing about its key.
func (r Keyring) IDs() []string {
	ids := make([]string, len(r.keys))
	for i, k := range r.keys {
		ids[i] = k.id
	}
	return ids
}

// NeedsReseal reports whether sealed was made by another key than the one that
// seals now.
func (r Keyring) NeedsReseal(sealed string) bool {
	id, _, err := split(sealed)
	return err == nil && len(r.keys) > 0 && r.keys[0].id != id
}

// String says [redacted].
func (Keyring) String() string { return redacted }

// GoString says [redacted].
func (Keyring) GoString() string { return redacted }

// LogValue says [redacted].
func (Keyring) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText says [redacted].
func (Keyring) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (r Keyring) index(id string) int {
	for i, k := range r.keys {
		if k.id == id {
			return i
		}
	}
	return -1
}

func split(sealed string) (id, payload string, err error) {
	rest, ok := strings.CutPrefix(sealed, version+".")
	if !ok || len(rest) <= idLength || rest[idLength] != '.' {
		return "", "", ErrMalformed
	}
	id, payload = rest[:idLength], rest[idLength+1:]
	if _, err := hex.DecodeString(id); err != nil {
		return "", "", ErrMalformed
	}
	return id, payload, nil
}

// join writes each part behind its length, so that ("ab", "c") and ("a", "bc")
// differ.
func join(parts []string) []byte {
	out := []byte(version)
	for _, part := range parts {
		out = binary.BigEndian.AppendUint64(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}
