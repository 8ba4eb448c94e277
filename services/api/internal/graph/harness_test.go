package graph_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
)

// answer is a GraphQL response as a client reads it.
type answer struct {
	Data   map[string]any `json:"data"`
	Errors []answerError  `json:"errors"`
}

type answerError struct {
	Message    string         `json:"message"`
	Path       []any          `json:"path"`
	Extensions map[string]any `json:"extensions"`
}

// code returns the code of the only error, empty when there is none.
func (a answer) code(t *testing.T) string {
	t.Helper()
	if len(a.Errors) == 0 {
		return ""
	}
	if len(a.Errors) > 1 {
		t.Errorf("%d errors, want one: %v", len(a.Errors), a.Errors)
	}
	code, _ := a.Errors[0].Extensions["code"].(string)
	return code
}

// at walks into the data: names and indexes, dot-separated.
func (a answer) at(t *testing.T, path string) any {
	t.Helper()
	var v any = a.Data
	for part := range strings.SplitSeq(path, ".") {
		switch inside := v.(type) {
		case map[string]any:
			v = inside[part]
		case []any:
			index := int(part[0] - '0')
			if index >= len(inside) {
				t.Fatalf("%s: no entry %s in %v", path, part, inside)
			}
			v = inside[index]
		default:
			t.Fatalf("%s: nothing below %v, errors %v", path, v, a.Errors)
		}
	}
	return v
}

func newSchema(t testing.TB, f *fake) *graph.Schema {
	t.Helper()
	s, err := graph.NewSchema(graph.Config{Management: f, Accept: f, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// as returns a context as it comes from the HTTP edge, with a verified token.
func as(t testing.TB, tenant webhook.TenantID, role token.Role) context.Context {
	t.Helper()
	secret := []byte("a test secret of more than 32 bytes")
	verifier, err := auth.New(t.Context(), auth.Config{Secret: secret, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	claims := token.Claims{TenantID: string(tenant), Role: string(role)}
	claims.Subject = "ann"
	compact, err := token.Mint(secret, claims, time.Now(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	principal, err := verifier.Verify(t.Context(), compact)
	if err != nil {
		t.Fatal(err)
	}
	return auth.WithPrincipal(t.Context(), principal)
}

// run executes a document with variables in JSON, as the transport does.
//
//nolint:revive // t comes first, as in every helper of tests
func run(t *testing.T, ctx context.Context, s *graph.Schema, document, variables string) answer {
	t.Helper()
	vars := map[string]any{}
	if variables != "" {
		var raws map[string]json.RawMessage
		if err := json.Unmarshal([]byte(variables), &raws); err != nil {
			t.Fatal(err)
		}
		for name, raw := range raws {
			vars[name] = raw
		}
	}
	text, err := json.Marshal(s.Exec(ctx, document, "", vars))
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return a
}

// runAs executes as an admin of acme.
func runAs(t *testing.T, f *fake, document, variables string) answer {
	t.Helper()
	return run(t, as(t, acme, token.Admin), newSchema(t, f), document, variables)
}

// narrowed is an admin of acme whose token permits less.
func narrowed(t *testing.T, permissions ...auth.Permission) context.Context {
	t.Helper()
	return auth.WithPrincipal(t.Context(), auth.Principal{Subject: "ann", Tenant: acme, Role: token.Admin, Permissions: permissions})
}

func equal(got, want any) bool { return reflect.DeepEqual(got, want) }

// is asserts a type.
func is[T any](t *testing.T, v any) T {
	t.Helper()
	got, ok := v.(T)
	if !ok {
		t.Fatalf("%v is a %T", v, v)
	}
	return got
}
