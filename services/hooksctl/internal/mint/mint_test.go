package mint_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/mint"
)

const secret = "0123456789abcdef0123456789abcdef"

func run(cmd mint.Command, environ ...string) (string, error) {
	var out bytes.Buffer
	err := cmd.Run(console.New(nil, &out, nil, environ))
	return strings.TrimSpace(out.String()), err
}

func TestCommand_tokenRoundTrip(t *testing.T) {
	t.Parallel()
	signed, err := run(mint.Command{Tenant: "acme", Role: "manager", Subject: "me", TTL: time.Hour, Permissions: []string{"WEBHOOK_READ"}},
		"HOOKS_JWT_SECRET="+secret, "HOOKS_JWT_ISSUER=crm", "HOOKS_JWT_AUDIENCE=hooks")
	if err != nil {
		t.Fatal(err)
	}
	var claims token.Claims
	key := func(*jwt.Token) (any, error) { return []byte(secret), nil }
	if _, err := jwt.ParseWithClaims(signed, &claims, key, jwt.WithIssuer("crm"), jwt.WithAudience("hooks"), jwt.WithExpirationRequired()); err != nil {
		t.Fatal(err)
	}
	if claims.TenantID != "acme" || claims.Role != "MANAGER" || claims.Subject != "me" {
		t.Errorf("claims = %+v", claims)
	}
	if diff := cmp.Diff([]string{"WEBHOOK_READ"}, claims.Permissions); diff != "" {
		t.Error(diff)
	}
	if left := time.Until(claims.ExpiresAt.Time); left < 59*time.Minute || left > time.Hour {
		t.Errorf("expires in %s", left)
	}
}

func TestCommand_rolesOwnPermissionsByDefault(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ given, want []string }{
		"no flag":    {nil, nil},
		"empty list": {[]string{""}, []string{}},
	} {
		signed, err := run(mint.Command{Tenant: "acme", Role: "ADMIN", TTL: time.Hour, Permissions: tc.given}, "HOOKS_JWT_SECRET="+secret)
		if err != nil {
			t.Fatal(err)
		}
		var claims token.Claims
		if _, _, err := jwt.NewParser().ParseUnverified(signed, &claims); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, claims.Permissions); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestCommand_refuses(t *testing.T) {
	t.Parallel()
	fine := mint.Command{Tenant: "acme", Role: "ADMIN", TTL: time.Hour}
	with := func(change func(*mint.Command)) mint.Command { c := fine; change(&c); return c }
	for _, tc := range []struct {
		cmd     mint.Command
		environ string
		want    string
	}{
		{fine, "HOOKS_JWT_SECRET=short", "HOOKS_JWT_SECRET must have at least 32 bytes"},
		{fine, "", "HOOKS_JWT_SECRET or HOOKS_JWKS_URL must be set"},
		{fine, "HOOKS_JWKS_URL=https://id.example/jwks", "identity provider"},
		{with(func(c *mint.Command) { c.Role = "BOSS" }), "HOOKS_JWT_SECRET=" + secret, "role must be one of ADMIN"},
		{with(func(c *mint.Command) { c.TTL = 0 }), "HOOKS_JWT_SECRET=" + secret, "--ttl must be positive"},
		{with(func(c *mint.Command) { c.Tenant = " " }), "HOOKS_JWT_SECRET=" + secret, "--tenant must not be empty"},
	} {
		out, err := run(tc.cmd, tc.environ)
		if err == nil || !strings.Contains(err.Error(), tc.want) || out != "" {
			t.Errorf("%+v: error %v, want %s; output %q", tc.cmd, err, tc.want, out)
		}
	}
}
