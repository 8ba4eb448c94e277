package webhook

import (
	"log/slog"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxHeaders     = 20
	maxHeaderBytes = 4 << 10
	// maskedValue hides values and their length alike.
	maskedValue = "********"
)

// Header is a custom request header of a webhook. Printed or logged, it hides
// the value of a credential-like name (I7).
type Header struct {
	Name  string
	Value string
}

// ParseHeaders accepts up to 20 headers with distinct names, each a field that a
// customer may set, and trims their values. It names every fault at once, under
// headers.<index>.
func ParseHeaders(in []Header) ([]Header, error) {
	if len(in) > maxHeaders {
		return nil, LimitExceeded("headers", "must have at most 20 entries")
	}
	out := make([]Header, 0, len(in))
	seen := make(map[string]bool, len(in))
	var faults Errors
	for i, h := range in {
		h.Value = strings.Trim(h.Value, " \t")
		fault := h.check()
		name := strings.ToLower(h.Name)
		if fault == nil && seen[name] {
			fault = Invalid("name", "must not repeat an earlier header's, whatever the case")
		}
		if fault != nil {
			faults = append(faults, fault.Under("headers", strconv.Itoa(i)))
		}
		seen[name] = true
		out = append(out, h)
	}
	return out, faults.orNil()
}

func (h Header) check() *Error {
	switch {
	case !isToken(h.Name):
		return Invalid("name", "must be an HTTP header name: letters, digits and - . _ among others, no spaces or colons")
	case isReserved(h.Name):
		return Invalid("name", "must not be one that the service sets itself or that frames the request")
	case !utf8.ValidString(h.Value):
		return Invalid("value", "must be valid UTF-8")
	case strings.ContainsFunc(h.Value, unicode.IsControl):
		return Invalid("value", "must not contain line breaks or other control characters")
	case len(h.Name)+len(h.Value) > maxHeaderBytes:
		return LimitExceeded("value", "must have at most 4096 bytes together with the name")
	case h.Value == maskedValue:
		return Invalid("value", "must be the real value: this is the mask that hides it in answers")
	}
	return nil
}

// MaskHeader returns h as it may be stored and shown: without the value of a
// credential-like name. Our own webhook-signature is no credential: it proves one
// request and lets nobody in.
func MaskHeader(h Header) Field {
	if h.hidden() {
		return Field{Name: h.Name, Value: maskedValue}
	}
	return Field(h)
}

func (h Header) hidden() bool { return credentialLike(h.Name) }

// String returns "name: value", masked.
func (h Header) String() string { return h.Name + ": " + MaskHeader(h).Value }

// GoString is String: %#v leaks nothing either.
func (h Header) GoString() string { return h.String() }

// LogValue is String for slog.
func (h Header) LogValue() slog.Value { return slog.StringValue(h.String()) }

// credentialLike reports whether the value of such a header lets somebody in.
func credentialLike(name string) bool {
	lower := strings.ToLower(name)
	if lower == "webhook-signature" {
		return false
	}
	for _, word := range [...]string{
		"auth", "cookie", "credential", "key", "passwd", "password", "secret", "session", "signature", "token",
	} {
		if strings.Contains(lower, word) {
			return true
		}
	}
	return false
}

// isReserved names what would frame the request anew, speak for the connection,
// or contradict the sender. It takes _ for -, as many servers do.
func isReserved(name string) bool {
	lower := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	switch lower {
	case "accept-encoding", "connection", "cookie", "cookie2", "date", "expect", "host", "http2-settings",
		"keep-alive", "set-cookie", "set-cookie2", "te", "traceparent", "tracestate", "trailer",
		"transfer-encoding", "upgrade", "user-agent", "via":
		return true
	}
	for _, prefix := range [...]string{"content-", "crm-", "proxy-", "webhook-"} {
		if strings.HasPrefix(lower, prefix) {
			return true
		}
	}
	return false
}

// isToken follows RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
