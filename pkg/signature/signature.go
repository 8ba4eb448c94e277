// Package signature signs and verifies webhooks as Standard Webhooks 1.0 has it.
//
// It promises that a body changed, an id swapped, or a timestamp moved by one
// second no longer verifies, and that verifying takes bounded work whatever the
// headers say. It does not promise that a message is new: a receiver remembers
// the webhook-id values it has handled, for twice the tolerance at least.
//
// The package needs nothing but the standard library, so a receiver may import
// it or copy it.
package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"
	"unsafe"
)

// The three headers, spelled as the specification spells them.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"
)

const (
	version = "v1,"
	// encodedLen is the length of one signature: the version, and base64 of a
	// SHA-256 sum.
	encodedLen = len(version) + 44
)

// Bytes is what a body may be given as.
type Bytes interface{ ~[]byte | ~string }

// Sign returns one signature of the message, "v1,<base64>".
func Sign[B Bytes](key []byte, id string, ts time.Time, body B) string {
	return Header([][]byte{key}, id, ts, body)
}

// Header returns the value of webhook-signature: one signature for each key,
// separated by spaces, in the order of the keys.
func Header[B Bytes](keys [][]byte, id string, ts time.Time, body B) string {
	prefix := signedPrefix(id, strconv.FormatInt(ts.Unix(), 10))
	content := readOnly(body)
	out := make([]byte, 0, len(keys)*(encodedLen+1))
	for i, key := range keys {
		if i > 0 {
			out = append(out, ' ')
		}
		out = appendSignature(out, key, prefix, content)
	}
	return string(out)
}

// signedPrefix is what is signed before the body. It has room for a SHA-256 sum,
// so that signing needs no second buffer.
func signedPrefix(id, ts string) []byte {
	prefix := make([]byte, 0, len(id)+len(ts)+2+sha256.Size)
	prefix = append(prefix, id...)
	prefix = append(prefix, '.')
	prefix = append(prefix, ts...)
	return append(prefix, '.')
}

func appendSignature(dst, key, prefix, body []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(prefix)
	mac.Write(body)
	sum := mac.Sum(prefix)[len(prefix):]
	return base64.StdEncoding.AppendEncode(append(dst, version...), sum)
}

// readOnly views a body without copying it: bodies reach 256 KiB and are signed
// on every attempt.
func readOnly[B Bytes](body B) []byte {
	s := *(*string)(unsafe.Pointer(&body))            //nolint:gosec // a slice header starts with a string header; nothing writes through the view
	return unsafe.Slice(unsafe.StringData(s), len(s)) //nolint:gosec // see above
}
