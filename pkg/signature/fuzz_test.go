package signature

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzParseHeader: whatever a forger sends, the work is bounded and nothing but
// the one right signature verifies.
func FuzzParseHeader(f *testing.F) {
	secret := "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	key, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		f.Fatal(err)
	}
	now := time.Unix(1614265330, 0)
	right := Sign(key, "msg", now, "body")
	for _, seed := range []string{"", " ", ",", "v1,", "v1", right, right + " " + right, "v1a," + right, strings.Repeat("v1, ", 40), "v1,\x00 \xff"} {
		f.Add(seed, "1614265330")
	}
	f.Fuzz(func(t *testing.T, header, ts string) {
		parts, err := parseHeader(header)
		if len(parts) > maxSignatures || (err == nil) != (len(parts) > 0) {
			t.Fatalf("parseHeader gave %d signatures and %v", len(parts), err)
		}
		h := http.Header{"Webhook-Id": {"msg"}, "Webhook-Timestamp": {ts}, "Webhook-Signature": {header}}
		err = Verify([]string{secret}, h, []byte("body"), now, 0)
		if err == nil && !strings.Contains(header, right) {
			t.Fatalf("Verify took %q at %q", header, ts)
		}
	})
}
