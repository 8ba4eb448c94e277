package auth_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
)

// TestMain runs everything with a proxy in the environment: one that takes
// connections and never answers.
func TestMain(m *testing.M) {
	proxy, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if err := os.Setenv(name, "http://"+proxy.Addr().String()); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

const secret = "0123456789abcdef0123456789abcdef"

func claims(change func(*token.Claims)) token.Claims {
	c := token.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   "user-7",
			Issuer:    "crm",
			Audience:  jwt.ClaimStrings{"hooks", "other"},
			ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)),
		},
		TenantID: "acme",
		Role:     "MANAGER",
	}
	if change != nil {
		change(&c)
	}
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, key any, kid string, c jwt.Claims) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, c)
	if kid != "" {
		tok.Header["kid"] = kid
	}
	signed, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func secretVerifier(t testing.TB) *auth.Verifier {
	t.Helper()
	v, err := auth.New(t.Context(), auth.Config{Secret: []byte(secret), Issuer: "crm", Audience: "hooks", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestNew_exactlyOneKeySource(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]auth.Config{
		"none": {}, "both": {Secret: []byte(secret), JWKSURL: "https://id.example"}, "short": {Secret: []byte(secret[:31])},
	} {
		if _, err := auth.New(t.Context(), config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestVerify_principal(t *testing.T) {
	t.Parallel()
	got, err := secretVerifier(t).Verify(t.Context(), sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := auth.Principal{
		Subject: "user-7", Tenant: "acme", Role: token.Manager,
		Permissions: []auth.Permission{auth.Read, auth.Create, auth.Update, auth.Test},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The table of contract: every role with every permission.
func TestVerify_roleByPermission(t *testing.T) {
	t.Parallel()
	all := []auth.Permission{auth.Read, auth.Create, auth.Update, auth.Delete, auth.Test, auth.Dispatch}
	for role, row := range map[token.Role]string{
		token.Admin:    "xxxxxx",
		token.Manager:  "xxx x ",
		token.SalesRep: "x     ",
		token.ReadOnly: "x     ",
		token.Service:  "     x",
	} {
		compact := sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(func(c *token.Claims) { c.Role = string(role) }))
		p, err := secretVerifier(t).Verify(t.Context(), compact)
		if err != nil {
			t.Fatal(err)
		}
		for i, permission := range all {
			if want := row[i] == 'x'; p.May(permission) != want {
				t.Errorf("%s may %s = %v, want %v", role, permission, !want, want)
			}
		}
	}
}

func TestVerify_permissionsOnlyNarrow(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		claim []string
		want  []auth.Permission
	}{
		"absent":   {nil, []auth.Permission{auth.Read, auth.Create, auth.Update, auth.Test}},
		"empty":    {[]string{}, nil},
		"narrower": {[]string{"WEBHOOK_TEST", "WEBHOOK_READ"}, []auth.Permission{auth.Read, auth.Test}},
		"wider":    {[]string{"WEBHOOK_READ", "WEBHOOK_DELETE", "EVENT_DISPATCH"}, []auth.Permission{auth.Read}},
		"unknown":  {[]string{"WEBHOOK_READ", "*", "ADMIN", "webhook_create"}, []auth.Permission{auth.Read}},
	} {
		compact := sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(func(c *token.Claims) { c.Permissions = tc.claim }))
		got, err := secretVerifier(t).Verify(t.Context(), compact)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(len(tc.want), len(got.Permissions)); diff != "" || !cmp.Equal(tc.want, append([]auth.Permission(nil), got.Permissions...)) {
			t.Errorf("%s: permissions = %v, want %v", name, got.Permissions, tc.want)
		}
	}
}

func TestVerify_refuses(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	hs := func(change func(*token.Claims)) string {
		return sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(change))
	}
	raw := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, []byte(secret), "", c) }
	const untrusted = "token must be signed by a key that this service trusts"
	const notJWT = "token must be a JWT with tenant_id, role, sub and exp of the right types"
	for name, tc := range map[string]struct{ compact, want string }{
		"not a JWT":         {"opaque", notJWT},
		"unsigned":          {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "", claims(nil)), untrusted},
		"signature cut off": {hs(nil)[:strings.LastIndexByte(hs(nil), '.')+1], untrusted},
		"another secret":    {sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), "", claims(nil)), untrusted},
		"another algorithm": {sign(t, jwt.SigningMethodHS512, []byte(secret), "", claims(nil)), untrusted},
		"expired":           {hs(func(c *token.Claims) { c.ExpiresAt = in(-31 * time.Second) }), "token exp has passed"},
		"no exp":            {hs(func(c *token.Claims) { c.ExpiresAt = nil }), "token must have exp, iss crm, aud hooks"},
		"not yet":           {hs(func(c *token.Claims) { c.NotBefore = in(time.Minute) }), "token nbf has not come yet"},
		"another audience":  {hs(func(c *token.Claims) { c.Audience = jwt.ClaimStrings{"other"} }), "token aud must include hooks"},
		"no audience":       {hs(func(c *token.Claims) { c.Audience = nil }), "token must have exp, iss crm, aud hooks"},
		"another issuer":    {hs(func(c *token.Claims) { c.Issuer = "evil" }), "token iss must be crm"},
		"no subject":        {hs(func(c *token.Claims) { c.Subject = "" }), "token sub must have 1 to 255 characters and no control characters"},
		"long subject":      {hs(func(c *token.Claims) { c.Subject = strings.Repeat("é", 256) }), "token sub must have 1 to 255 characters and no control characters"},
		"NUL in subject":    {hs(func(c *token.Claims) { c.Subject = "a\x00b" }), "token sub must have 1 to 255 characters and no control characters"},
		"no tenant":         {hs(func(c *token.Claims) { c.TenantID = "" }), "token tenant_id must have 1 to 64 letters, digits or . _ : -"},
		"odd tenant":        {hs(func(c *token.Claims) { c.TenantID = "a b" }), "token tenant_id must have 1 to 64 letters, digits or . _ : -"},
		"unknown role":      {hs(func(c *token.Claims) { c.Role = "ROOT" }), "token role must be one of ADMIN, MANAGER, SALES_REP, READ_ONLY, SERVICE"},
		"no role":           {hs(func(c *token.Claims) { c.Role = "" }), "token role must be one of ADMIN, MANAGER, SALES_REP, READ_ONLY, SERVICE"},
		"exp of wrong type": {raw(jwt.MapClaims{"exp": "tomorrow"}), notJWT},
		"tenant is a list":  {raw(jwt.MapClaims{"tenant_id": []string{"acme"}}), notJWT},
		"permissions text":  {raw(jwt.MapClaims{"permissions": "WEBHOOK_READ"}), notJWT},
		"too long":          {hs(func(c *token.Claims) { c.ID = strings.Repeat("x", 8<<10) }), "token must have at most 8 KiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := secretVerifier(t).Verify(t.Context(), tc.compact)
			if err == nil || err.Error() != tc.want {
				t.Errorf("error = %v, want %s (principal %+v)", err, tc.want, p)
			}
		})
	}
}

func TestVerify_leeway(t *testing.T) {
	t.Parallel()
	compact := sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(func(c *token.Claims) {
		c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-20 * time.Second))
	}))
	if _, err := secretVerifier(t).Verify(t.Context(), compact); err != nil {
		t.Errorf("a clock that is 20 s ahead: %v", err)
	}
}

func TestFromRequest_header(t *testing.T) {
	t.Parallel()
	good := sign(t, jwt.SigningMethodHS256, []byte(secret), "", claims(nil))
	for name, tc := range map[string]struct {
		headers []string
		ok      bool
	}{
		"bearer":         {[]string{"Bearer " + good}, true},
		"scheme in caps": {[]string{"BEARER  " + good}, true},
		"none":           {nil, false},
		"empty":          {[]string{""}, false},
		"no scheme":      {[]string{good}, false},
		"another scheme": {[]string{"Basic " + good}, false},
		"nothing after":  {[]string{"Bearer "}, false},
		"two":            {[]string{"Bearer " + good, "Bearer " + good}, false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/graphql", nil)
		r.Header["Authorization"] = tc.headers
		if _, err := secretVerifier(t).FromRequest(r); (err == nil) != tc.ok {
			t.Errorf("%s: error = %v, want ok = %v", name, err, tc.ok)
		}
	}
}

func TestFromContext(t *testing.T) {
	t.Parallel()
	if _, ok := auth.FromContext(context.Background()); ok {
		t.Error("an empty context has a principal")
	}
	want := auth.Principal{Subject: "u", Tenant: "acme", Role: token.Admin}
	if got, ok := auth.FromContext(auth.WithPrincipal(context.Background(), want)); !ok || !cmp.Equal(want, got) {
		t.Errorf("principal = %+v, %v", got, ok)
	}
}
