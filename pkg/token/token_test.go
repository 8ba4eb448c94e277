package token_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
)

func TestMint_payload(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		permissions []string
		want        string
	}{
		"role's permissions": {nil, `{"sub":"u1","exp":1800003600,"iat":1800000000,"tenant_id":"acme","role":"ADMIN"}`},
		"none":               {[]string{}, `{"sub":"u1","exp":1800003600,"iat":1800000000,"tenant_id":"acme","role":"ADMIN","permissions":[]}`},
	} {
		claims := token.Claims{
			RegisteredClaims: jwt.RegisteredClaims{Subject: "u1"},
			TenantID:         "acme", Role: string(token.Admin), Permissions: tc.permissions,
		}
		signed, err := token.Mint([]byte(strings.Repeat("k", 32)), claims, now, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[1])
		if err != nil || string(payload) != tc.want {
			t.Errorf("%s: payload = %s, want %s (%v)", name, payload, tc.want, err)
		}
	}
}

func TestMint_shortSecret(t *testing.T) {
	t.Parallel()
	if _, err := token.Mint(make([]byte, 31), token.Claims{}, time.Now(), time.Hour); err == nil {
		t.Error("a secret of 31 bytes was accepted")
	}
}

func TestParseRole(t *testing.T) {
	t.Parallel()
	for _, r := range token.Roles() {
		if got, err := token.ParseRole(string(r)); got != r || err != nil {
			t.Errorf("ParseRole(%s) = %s, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "admin", "ROOT"} {
		if _, err := token.ParseRole(s); err == nil {
			t.Errorf("ParseRole(%q) succeeded", s)
		}
	}
}
