// Package auth turns a bearer token into a Principal.
//
// A Principal that exists was signed for by the one key source that is
// configured, has not expired, and names a valid tenant and role. The key
// source decides which algorithms count, never the token: with a secret only
// HS256, with a JWKS URL only RS256, ES256 and EdDSA.
//
// The context carries the principal from the HTTP edge to the resolvers and no
// further: below them tenants are explicit parameters (I5).
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	maxTokenBytes   = 8 << 10
	maxSubjectRunes = 255
	leeway          = 30 * time.Second
)

// Config says which tokens count. Exactly one of Secret and JWKSURL is set.
type Config struct {
	Secret  []byte
	JWKSURL string
	// Issuer and Audience are checked when they are not empty.
	Issuer   string
	Audience string
	Log      *slog.Logger

	refetchEvery time.Duration // 0 but in tests
}

// Error is a token's fault; its text names the claim and the rule and is fit
// for the caller's eyes.
type Error struct {
	// Rule is a whole sentence: "token exp has passed".
	Rule string
	// Cause is for logs only.
	Cause error
}

func (e *Error) Error() string { return e.Rule }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Verifier verifies tokens. It is safe for concurrent use.
type Verifier struct {
	config Config
	parser *jwt.Parser
	keys   func(context.Context) jwt.Keyfunc
}

// New returns a verifier. With a JWKS URL it fetches the keys, for a few
// seconds at most: when they cannot be had it starts without and tries again
// when a token comes, so that an identity provider that is down does not keep
// the api down. Refreshing goes on until ctx ends.
func New(ctx context.Context, config Config) (*Verifier, error) {
	v := &Verifier{config: config}
	var methods []string
	switch {
	case (len(config.Secret) > 0) == (config.JWKSURL != ""):
		return nil, errors.New("auth: exactly one of a secret and a JWKS URL must be given")
	case len(config.Secret) > 0:
		if len(config.Secret) < token.MinSecretBytes {
			return nil, fmt.Errorf("auth: the secret must have at least %d bytes", token.MinSecretBytes)
		}
		methods = []string{"HS256"}
		v.keys = func(context.Context) jwt.Keyfunc {
			return func(*jwt.Token) (any, error) { return config.Secret, nil }
		}
	default:
		methods = []string{"RS256", "ES256", "EdDSA"}
		keys := newKeySet(config)
		keys.fetch(ctx)
		go keys.refresh(ctx) // until ctx ends
		v.keys = keys.keyFor
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(methods), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithStrictDecoding()}
	if config.Issuer != "" {
		options = append(options, jwt.WithIssuer(config.Issuer))
	}
	if config.Audience != "" {
		options = append(options, jwt.WithAudience(config.Audience))
	}
	v.parser = jwt.NewParser(options...)
	return v, nil
}

// FromRequest verifies the token of the Authorization header. Errors are of type *Error.
func (v *Verifier) FromRequest(r *http.Request) (Principal, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return Principal{}, &Error{Rule: "Authorization header must be given, once: Bearer <token>"}
	}
	scheme, bearer, _ := strings.Cut(headers[0], " ")
	bearer = strings.TrimSpace(bearer)
	if !strings.EqualFold(scheme, "Bearer") || bearer == "" {
		return Principal{}, &Error{Rule: "Authorization header must be Bearer <token>"}
	}
	return v.Verify(r.Context(), bearer)
}

// Verify verifies a token in its compact form. Errors are of type *Error.
func (v *Verifier) Verify(ctx context.Context, compact string) (Principal, error) {
	if len(compact) > maxTokenBytes {
		return Principal{}, &Error{Rule: "token must have at most 8 KiB"}
	}
	if strings.ContainsAny(compact, "\r\n") { // decoders skip them
		return Principal{}, &Error{Rule: ruleNotJWT}
	}
	if err := checkNames(compact); err != nil {
		return Principal{}, err
	}
	var claims token.Claims
	if _, err := v.parser.ParseWithClaims(compact, &claims, v.keys(ctx)); err != nil {
		return Principal{}, v.explain(err)
	}
	return principal(claims)
}

func principal(claims token.Claims) (Principal, error) {
	if n := utf8.RuneCountInString(claims.Subject); n == 0 || n > maxSubjectRunes || strings.ContainsFunc(claims.Subject, unicode.IsControl) {
		return Principal{}, &Error{Rule: "token sub must have 1 to 255 characters and no control characters"}
	}
	tenant, err := webhook.ParseTenantID(claims.TenantID)
	if err != nil {
		return Principal{}, &Error{Rule: "token tenant_id must have 1 to 64 letters, digits or . _ : -", Cause: err}
	}
	role, err := token.ParseRole(claims.Role)
	if err != nil {
		return Principal{}, &Error{Rule: "token " + err.Error()}
	}
	return Principal{
		Subject:     claims.Subject,
		Tenant:      tenant,
		Role:        role,
		Permissions: narrow(permissionsOf(role), claims.Permissions),
	}, nil
}

// explain names the rule that a token breaks. A signature that does not verify
// gets one text whatever the reason: which key it was is nobody's business.
func (v *Verifier) explain(err error) *Error {
	rule := "token must be signed by a key that this service trusts"
	switch {
	case errors.Is(err, jwt.ErrTokenMalformed):
		rule = ruleNotJWT
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
	case errors.Is(err, jwt.ErrTokenExpired):
		rule = "token exp has passed"
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		rule = "token nbf has not come yet"
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		rule = "token aud must include " + v.config.Audience
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		rule = "token iss must be " + v.config.Issuer
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		rule = "token must have " + v.requiredClaims()
	}
	return &Error{Rule: rule, Cause: err}
}

func (v *Verifier) requiredClaims() string {
	claims := "exp"
	if v.config.Issuer != "" {
		claims += ", iss " + v.config.Issuer
	}
	if v.config.Audience != "" {
		claims += ", aud " + v.config.Audience
	}
	return claims
}

type principalKey struct{}

// WithPrincipal returns a context that carries the principal to the resolvers.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the context's principal; false means that the request
// was not authenticated, which a resolver must treat as a fault.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey{}).(Principal)
	return p, ok
}
