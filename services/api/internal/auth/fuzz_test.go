package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
)

// FuzzVerify gives tokens with a good signature to the parsers. What they accept,
// a reader that takes the first of several members, one that takes the last, and
// one that cares for the case of names must understand in the same way.
func FuzzVerify(f *testing.F) {
	const header = `{"alg":"HS256","typ":"JWT"}`
	const payload = `{"sub":"u","iss":"crm","aud":"hooks","exp":4102444800,"role":"ADMIN","tenant_id":"acme","permissions":["WEBHOOK_READ"]}`
	with := func(more string) string { return strings.TrimSuffix(payload, "}") + "," + more + "}" }
	f.Add(header, payload)
	for _, odd := range []string{
		`{"alg":"none"}`, `{"alg":["HS256"]}`, `{"alg":"HS256","alg":"none"}`, `{"alg":"HS256","ALG":"RS256"}`, `{"alg":"HS256","crit":["b64"],"b64":false}`,
		`{"alg":"HS256","kid":{"a":1},"jku":"https://x/"}`, `["alg"]`, `null`, ``, "\xff", `{"alg":"HS256"}{}`, ` {"alg" : "HS256" } `,
	} {
		f.Add(odd, payload)
	}
	for _, odd := range []string{
		with(`"tenant_id":"globex"`), with(`"TENANT_ID":"globex"`), with(`"tenant\u005fid":"globex"`), with(`"ſub":"root"`), with(`"K":1,"K":2`),
		with(`"a":{"tenant_id":"globex","tenant_id":1},"b":[{},[]]`), with(`"":1,"":2`), with(`"\ud800":1,"\ufffd":2`), payload + `{}`, `[]`, `{"sub":"u"`, `{}`, "\x00",
		strings.Replace(payload, `"exp":`, `"exp":1e300,"nbf":`, 1), strings.Repeat(`{"a":`, 3000),
	} {
		f.Add(header, odd)
	}
	verifier := secretVerifier(f)
	f.Fuzz(func(t *testing.T, header, payload string) {
		p, err := verifier.Verify(t.Context(), signText(header, payload))
		if err != nil {
			var fault *auth.Error
			if !errors.As(err, &fault) || !strings.HasPrefix(err.Error(), "token ") {
				t.Fatalf("%v is no sentence about the token", err)
			}
			return
		}
		if p.Tenant == "" || p.Subject == "" || p.Role == "" {
			t.Errorf("accepted, and names nobody: %+v", p)
		}
		for part, text := range map[string]string{"header": header, "payload": payload} {
			if name := repeated(t, text); name != "" {
				t.Errorf("accepted, and the %s has %q twice", part, name)
			}
		}
		var claims map[string]any
		if err := json.Unmarshal([]byte(payload), &claims); err != nil {
			t.Fatalf("accepted, and the payload is no JSON object: %v", err)
		}
		for name, value := range claims {
			if strings.EqualFold(name, "tenant_id") && value != string(p.Tenant) || strings.EqualFold(name, "sub") && value != p.Subject {
				t.Errorf("accepted as %+v, and %s is %v", p, name, value)
			}
		}
	})
}

// repeated returns the name of a member that an object has twice, whatever the
// case; empty when there is none.
func repeated(t *testing.T, object string) string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(object))
	var names []string
	depth, isName := 0, true
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return ""
		}
		if err != nil {
			t.Fatalf("accepted, and it is no JSON: %v", err)
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth != 1 || token == json.Delim('{') { // that of the object itself
			continue
		}
		if name, _ := token.(string); isName {
			if slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(name, other) }) {
				return name
			}
			names = append(names, name)
		}
		isName = !isName
	}
}

// FuzzVerify_compact is about what surrounds header and payload: one token has one
// spelling.
func FuzzVerify_compact(f *testing.F) {
	good := signText(`{"alg":"HS256"}`, `{"sub":"u","iss":"crm","aud":"hooks","exp":4102444800,"role":"ADMIN","tenant_id":"acme"}`)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(good) - 1 // its lowest bits mean nothing
	other := good[:last] + string(alphabet[strings.IndexByte(alphabet, good[last])|1])
	for _, odd := range []string{
		good, other, good + "=", good + ".", "." + good, good[:len(good)-1], strings.Replace(good, ".", "", 1), strings.ReplaceAll(good, "-", "+"),
		"", ".", "..", "...", "e30.e30.", "bnVsbA.bnVsbA.", good + "\n", " " + good, strings.ToUpper(good),
	} {
		f.Add(odd)
	}
	verifier := secretVerifier(f)
	f.Fuzz(func(t *testing.T, compact string) {
		if _, err := verifier.Verify(t.Context(), compact); err != nil {
			return
		}
		header, rest, _ := strings.Cut(compact, ".")
		payload, _, _ := strings.Cut(rest, ".")
		var parts [2]string
		for i, part := range []string{header, payload} {
			raw, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil {
				t.Fatalf("accepted, and part %d is not base64url: %v", i, err)
			}
			parts[i] = string(raw)
		}
		if want := signText(parts[0], parts[1]); compact != want {
			t.Errorf("accepted, and it is not what was signed: %q, want %q", compact, want)
		}
	})
}
