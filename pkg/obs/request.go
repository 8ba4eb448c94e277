package obs

import (
	"context"
	"crypto/rand"
	"strings"
)

type requestIDKey struct{}

// WithRequestID returns a context that carries a request id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the context's request id, empty when there is none.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// NewRequestID makes an id that nobody can guess.
func NewRequestID() string { return strings.ToLower(rand.Text()) }

const maxRequestIDBytes = 128

// ParseRequestID accepts a caller's own request id if it is safe in logs and
// headers: 1 to 128 of [A-Za-z0-9._:-].
func ParseRequestID(s string) (string, bool) {
	if s == "" || len(s) > maxRequestIDBytes {
		return "", false
	}
	for _, c := range []byte(s) {
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && !strings.ContainsRune("._:-", rune(c)) {
			return "", false
		}
	}
	return s, true
}
