package auth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
)

const (
	ruleUntrusted = "token must be signed by a key that this service trusts"
	ruleNotJWT    = "token must be a JWT with tenant_id, role, sub and exp of the right types"
	ruleOnce      = "token must have each header parameter and claim once"
	ruleCritical  = "token must not have the header parameter crit"
)

// signText signs header and payload as they are, with the secret.
func signText(header, payload string) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Tokens with a good signature that two readers would read in two ways.
func TestVerify_ambiguousTokens(t *testing.T) {
	t.Parallel()
	const header = `{"alg":"HS256","typ":"JWT"}`
	payload := func(more string) string {
		return fmt.Sprintf(`{"sub":"u","iss":"crm","aud":"hooks","exp":%d,"role":"READ_ONLY","tenant_id":"acme"%s}`, time.Now().Add(time.Hour).Unix(), more)
	}
	for name, tc := range map[string]struct{ header, payload, want string }{
		"none of it":             {header, payload(``), ""},
		"unknown claims":         {header, payload(`,"name":"x","nested":{"a":1,"b":{"tenant_id":"globex"}}`), ""},
		"repeated claim":         {header, payload(`,"tenant_id":"globex"`), ruleOnce},
		"repeated, same value":   {header, payload(`,"tenant_id":"acme"`), ruleOnce},
		"repeated in capitals":   {header, payload(`,"TENANT_ID":"globex"`), ruleOnce},
		"repeated role":          {header, payload(`,"Role":"ADMIN"`), ruleOnce},
		"repeated with a long s": {header, payload(`,"ſub":"root"`), ruleOnce},
		"repeated with an escape": {
			header, payload(`,"tenant\u005fid":"globex"`), ruleOnce,
		},
		"repeated alg":          {`{"alg":"HS256","alg":"none"}`, payload(``), ruleOnce},
		"repeated alg, capital": {`{"alg":"HS256","ALG":"none"}`, payload(``), ruleOnce},
		"crit":                  {`{"alg":"HS256","crit":["b64"],"b64":false}`, payload(``), ruleCritical},
		"empty crit":            {`{"alg":"HS256","crit":[]}`, payload(``), ruleCritical},
		"alg is a list":         {`{"alg":["HS256"]}`, payload(``), ruleUntrusted},
		"alg in lower case":     {`{"alg":"hs256"}`, payload(``), ruleUntrusted},
		"alg is None":           {`{"alg":"None"}`, payload(``), ruleUntrusted},
		"header is a list":      {`["alg"]`, payload(``), ruleNotJWT},
		"header is null":        {`null`, payload(``), ruleNotJWT},
		"two values":            {header, payload(``) + `{}`, ruleNotJWT},
		"payload is a list":     {header, `[]`, ruleNotJWT},
		"payload is cut":        {header, `{"sub":"u"`, ruleNotJWT},
		"exp beyond time":       {header, strings.Replace(payload(``), `"exp":`, `"exp":1e300,"ex":`, 1), "token exp has passed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := secretVerifier(t).Verify(t.Context(), signText(tc.header, tc.payload))
			if tc.want == "" && (err != nil || p.Tenant != "acme" || p.Role != token.ReadOnly) {
				t.Errorf("principal = %+v, %v", p, err)
			}
			if tc.want != "" && (err == nil || err.Error() != tc.want) {
				t.Errorf("error = %v, want %s (principal %+v)", err, tc.want, p)
			}
		})
	}
}

// The size just allowed passes, one byte more is refused before anything is parsed.
func TestVerify_sizeLimit(t *testing.T) {
	t.Parallel()
	sized := func(bytes int) string {
		for n := bytes / 2; ; n++ {
			compact := sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(func(c *token.Claims) { c.ID = strings.Repeat("x", n) }))
			if len(compact) >= bytes {
				return compact
			}
		}
	}
	v := secretVerifier(t)
	if compact := sized(8<<10 - 1); len(compact) > 8<<10 {
		t.Fatalf("the test made %d bytes", len(compact))
	} else if _, err := v.Verify(t.Context(), compact); err != nil {
		t.Errorf("%d bytes: %v", len(compact), err)
	}
	if _, err := v.Verify(t.Context(), sized(8<<10+1)); err == nil || err.Error() != "token must have at most 8 KiB" {
		t.Errorf("over 8 KiB: %v", err)
	}
}

func TestVerify_leewayIsSmallBothWays(t *testing.T) {
	t.Parallel()
	for off, ok := range map[time.Duration]bool{20 * time.Second: true, 40 * time.Second: false} {
		for name, change := range map[string]func(*token.Claims){
			"exp": func(c *token.Claims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-off)) },
			"nbf": func(c *token.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(off)) },
		} {
			_, err := secretVerifier(t).Verify(t.Context(), sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(change)))
			if (err == nil) != ok {
				t.Errorf("%s off by %s: %v", name, off, err)
			}
		}
	}
}

// TestJWKS_headersThatNameKeysAreIgnored: an attacker's own key, offered by URL
// or by value, and key ids that some systems put into paths, SQL or URLs.
func TestJWKS_headersThatNameKeysAreIgnored(t *testing.T) {
	t.Parallel()
	good, evil := newKeys(t), newKeys(t)
	var asked atomic.Int64
	attacker := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	t.Cleanup(attacker.Close)
	server := newKeyServer(t)
	server.add(t, "good", good.rsa.Public())
	v := server.verifier(t)
	jwk, err := jwkset.NewJWKFromKey(evil.rsa.Public(), jwkset.JWKOptions{Metadata: jwkset.JWKMetadataOptions{KID: "good"}})
	if err != nil {
		t.Fatal(err)
	}
	var embedded map[string]any
	if raw, err := json.Marshal(jwk.Marshal()); err != nil || json.Unmarshal(raw, &embedded) != nil {
		t.Fatal(err)
	}
	headers := map[string]map[string]any{
		"jku":           {"kid": "good", "jku": attacker.URL},
		"x5u":           {"kid": "good", "x5u": attacker.URL},
		"jwk":           {"kid": "good", "jwk": embedded},
		"jwk alone":     {"jwk": embedded},
		"kid is a URL":  {"kid": attacker.URL + "/jwks.json"},
		"kid is a path": {"kid": "../../../../dev/null"},
		"kid is SQL":    {"kid": "x' UNION SELECT 'key"},
		"kid is empty":  {"kid": ""},
		"kid is null":   {"kid": nil},
		"kid is number": {"kid": 1},
		"kid is object": {"kid": map[string]any{"good": true}},
		"kid has NUL":   {"kid": "good\x00"},
	}
	for name, header := range headers {
		for by, key := range map[string]any{"evil": evil.rsa, "good": good.rsa} {
			tok := jwt.NewWithClaims(jwt.SigningMethodRS256, claims(nil))
			maps.Copy(tok.Header, header)
			compact, err := tok.SignedString(key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = v.Verify(t.Context(), compact)
			kid, given := header["kid"]
			if ok := by == "good" && (!given || kid == "good"); (err == nil) != ok {
				t.Errorf("%s signed by the %s key: %v", name, by, err)
			}
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the attacker's server was asked %d times", n)
	}
}
