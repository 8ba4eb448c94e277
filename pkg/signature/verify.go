package signature

import (
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultTolerance is how far a timestamp may be from the receiver's clock.
const DefaultTolerance = 5 * time.Minute

const (
	secretPrefix = "whsec_"
	minKeyBytes  = 24
	maxKeyBytes  = 64
	// maxSignatures bounds the work that one request can ask for.
	maxSignatures = 16
	// maxHeaderBytes leaves room for maxSignatures of any known version.
	maxHeaderBytes = 4096
)

// What Verify may answer, to compare with errors.Is.
var (
	ErrSecret           = errors.New("webhook secret is not whsec_ followed by base64 of 24 to 64 bytes")
	ErrMissingHeader    = errors.New("a webhook-id, webhook-timestamp or webhook-signature header is missing")
	ErrMalformedHeader  = errors.New("a webhook header is malformed")
	ErrTimestampTooOld  = errors.New("webhook timestamp is too old")
	ErrTimestampTooNew  = errors.New("webhook timestamp is too far in the future")
	ErrNoMatch          = errors.New("no signature of the webhook matches")
	errNoSecret         = errors.New("no webhook secret given")
	errNegativeDuration = errors.New("tolerance is negative")
)

// Verify reports whether body, under the headers h, was signed by one of the
// secrets, within tolerance of now (0 means DefaultTolerance).
//
// Give it the body as it arrived, before any JSON decoding, and while a secret is
// being rotated both the old and the new one. Its answer to a forged message says
// which check failed; it takes the same time for every wrong signature.
func Verify(secrets []string, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if tolerance < 0 {
		return errNegativeDuration
	}
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	keys, err := parseSecrets(secrets)
	if err != nil {
		return err
	}
	id, ts, header := h.Get(HeaderID), h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	if id == "" || ts == "" || header == "" {
		return ErrMissingHeader
	}
	if err := checkTimestamp(ts, now, tolerance); err != nil {
		return err
	}
	signatures, err := parseHeader(header)
	if err != nil {
		return err
	}
	return match(keys, signatures, signedPrefix(id, ts), body)
}

func match(keys [][]byte, signatures []string, prefix, body []byte) error {
	matched := false
	for _, key := range keys {
		want := appendSignature(make([]byte, 0, encodedLen), key, prefix, body)
		for _, got := range signatures {
			matched = hmac.Equal(want, []byte(got)) || matched
		}
	}
	if !matched {
		return ErrNoMatch
	}
	return nil
}

// parseHeader returns the v1 signatures of a webhook-signature header, each as it
// was sent. Signatures of other versions are skipped: a sender may add them.
func parseHeader(header string) ([]string, error) {
	if len(header) > maxHeaderBytes {
		return nil, ErrMalformedHeader
	}
	var found []string
	for part := range strings.SplitSeq(header, " ") {
		if !strings.HasPrefix(part, version) {
			continue
		}
		if len(found) == maxSignatures {
			return nil, ErrMalformedHeader
		}
		found = append(found, part)
	}
	if len(found) == 0 {
		return nil, ErrNoMatch
	}
	return found, nil
}

// checkTimestamp takes plain digits only, so that a timestamp has one spelling.
func checkTimestamp(text string, now time.Time, tolerance time.Duration) error {
	seconds, err := strconv.ParseUint(text, 10, 40)
	if err != nil {
		return ErrMalformedHeader
	}
	age := now.Sub(time.Unix(int64(seconds), 0))
	switch {
	case age > tolerance:
		return ErrTimestampTooOld
	case age < -tolerance:
		return ErrTimestampTooNew
	default:
		return nil
	}
}

func parseSecrets(secrets []string) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, errNoSecret
	}
	keys := make([][]byte, len(secrets))
	for i, s := range secrets {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(s, secretPrefix))
		if err != nil || len(key) < minKeyBytes || len(key) > maxKeyBytes {
			return nil, ErrSecret
		}
		keys[i] = key
	}
	return keys, nil
}
