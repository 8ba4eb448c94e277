package httpapi_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
)

// stopped is a time at which no bucket is ever refilled.
func stopped() time.Time { return time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC) }

func limited(requests, events int) func(*httpapi.Config) {
	return func(c *httpapi.Config) {
		c.Requests, c.Events = limit.New(1, requests, stopped), limit.New(1, events, stopped)
	}
}

func tokenOf(t *testing.T, tenant string) string {
	t.Helper()
	compact, err := token.Mint([]byte(jwtSecret), token.Claims{
		RegisteredClaims: jwt.RegisteredClaims{Subject: "u1"}, TenantID: tenant, Role: string(token.Admin),
	}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return compact
}

// The last request allowed is answered, the next is refused with a hint, and
// another tenant's is answered.
func TestRate_requests(t *testing.T) {
	t.Parallel()
	b := setup(t, limited(3, 1))
	for range 3 {
		if r := b.query(t, "{ tenant }"); r.code() != "" {
			t.Fatal(r.body)
		}
	}
	for _, accept := range []string{"application/json", "application/graphql-response+json"} {
		r := b.query(t, "{ tenant }", "Accept: "+accept)
		want := `{"errors":[{"message":"requests of this tenant must come at a lower rate","extensions":{"code":"LIMIT_EXCEEDED","retryAfterMs":1000}}]}`
		if r.StatusCode != http.StatusTooManyRequests || r.Header.Get("Retry-After") != "1" || r.body != want {
			t.Errorf("%s: %d, Retry-After %q, %s", accept, r.StatusCode, r.Header.Get("Retry-After"), r.body)
		}
	}
	if r := b.query(t, "{ tenant }", "Authorization: Bearer "+tokenOf(t, "globex")); r.code() != "" {
		t.Errorf("another tenant: %s", r.body)
	}
}

// What cannot be parsed counts as well: parsing is not free.
func TestRate_malformedRequestsCount(t *testing.T) {
	t.Parallel()
	b := setup(t, limited(1, 1))
	if r := b.query(t, "{"); r.code() != "BAD_USER_INPUT" {
		t.Fatal(r.body)
	}
	if r := b.query(t, "{"); r.code() != "LIMIT_EXCEEDED" {
		t.Errorf("the second: %s", r.body)
	}
}

// Accepting events is rated by events and by nothing else, however they are spelt.
func TestRate_events(t *testing.T) {
	t.Parallel()
	const one = "mutation { dispatchEvent }"
	for name, tc := range map[string]struct {
		query            string
		events, requests int // that it takes
	}{
		"one":            {one, 1, 0},
		"aliases":        {"mutation { a: dispatchEvent b: dispatchEvents }", 2, 0},
		"in fragments":   {"mutation { ...F ...F ... on Mutation { b: dispatchEvent } } fragment F on Mutation { a: dispatchEvent ...F }", 2, 0},
		"and more":       {"mutation { dispatchEvent __typename }", 1, 1},
		"another":        {"mutation { count }", 0, 1},
		"other fragment": {"mutation { count ...Nowhere } fragment F on Mutation { dispatchEvent }", 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, limited(10, 10))
			if r := b.query(t, tc.query); r.StatusCode == http.StatusTooManyRequests {
				t.Fatal(r.body)
			}
			if left := drain(t, b, one); left != 10-tc.events {
				t.Errorf("took %d events, want %d", 10-left, tc.events)
			}
			if left := drain(t, b, "{ tenant }"); left != 10-tc.requests {
				t.Errorf("took %d requests, want %d", 10-left, tc.requests)
			}
		})
	}
}

// drain returns how often a query is let through.
func drain(t *testing.T, b *bundle, query string) (n int) {
	t.Helper()
	for {
		r := b.query(t, query)
		if r.StatusCode != http.StatusTooManyRequests {
			n++
			continue
		}
		if wait, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || wait < 1 || !strings.Contains(r.body, "retryAfterMs") {
			t.Errorf("no hint: %v %s", r.Header, r.body)
		}
		return n
	}
}
