package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/graph-gophers/graphql-go"
	gqllog "github.com/graph-gophers/graphql-go/log"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testSDL has one field for everything that the edge has to cope with.
const testSDL = `
schema { query: Query mutation: Mutation subscription: Subscription }
type Query {
  tenant: String!
  echo(text: String!): String!
  requestId: String!
  traceparent: String!
  deadline: Float!
  wait: String!
  forbidden: String!
  unavailable: String!
  optional: String
  unclassified: String!
  secret: String
  panics: String!
  long: String!
  self: Query!
}
type Mutation { count: Int! deadline: Float! }
type Subscription { ticks: Int! }
`

var (
	errForbidden   = codedError{"FORBIDDEN", "WEBHOOK_READ is needed"}
	errUnavailable = codedError{"UNAVAILABLE", "temporarily unavailable, try again"}
)

type codedError struct{ code, message string }

func (e codedError) Error() string              { return e.message }
func (e codedError) Extensions() map[string]any { return map[string]any{"code": e.code} }

type root struct {
	query
	mutation
	subscription
}

func (r *root) Query() *query               { return &r.query }
func (r *root) Mutation() *mutation         { return &r.mutation }
func (r *root) Subscription() *subscription { return &r.subscription }

type query struct{}

func (query) Tenant(ctx context.Context) (string, error) {
	p, ok := auth.FromContext(ctx)
	if !ok {
		return "", errors.New("no principal")
	}
	return string(p.Tenant), nil
}
func (query) Echo(args struct{ Text string }) string        { return args.Text }
func (query) RequestID(ctx context.Context) string          { return obs.RequestID(ctx) }
func (query) Traceparent(ctx context.Context) string        { return obs.TraceParent(ctx) }
func (query) Deadline(ctx context.Context) (float64, error) { return remaining(ctx) }
func (query) Wait(ctx context.Context) (string, error)      { <-ctx.Done(); return "", ctx.Err() }
func (query) Forbidden() (string, error)                    { return "", errForbidden }
func (query) Unavailable() (string, error)                  { return "", errUnavailable }
func (query) Optional() (*string, error)                    { return nil, errUnavailable }
func (query) Unclassified() (string, error)                 { return "", errors.New("password=hunter2 in DSN") }
func (query) Secret() (*string, error)                      { return nil, errors.New("password=hunter2 in DSN") }
func (query) Panics(context.Context) (string, error)        { panic("hunter2") }
func (query) Long(context.Context) string                   { return strings.Repeat("<long>", 5000) }
func (query) Self() *query                                  { return &query{} }
func remaining(ctx context.Context) (float64, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0, errors.New("no deadline")
	}
	return time.Until(deadline).Seconds(), nil
}

type mutation struct {
	mu sync.Mutex
	n  int32
}

func (m *mutation) Count() int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	return m.n
}
func (m *mutation) Deadline(ctx context.Context) (float64, error) { return remaining(ctx) }

type subscription struct{}

func (subscription) Ticks(context.Context) (<-chan int32, error) { return nil, errors.New("none") }

// executor decodes variables as plainly as a test can.
type executor struct{ schema *graphql.Schema }

func (e executor) Exec(ctx context.Context, query, name string, variables map[string]any) *graphql.Response {
	decoded := map[string]any{}
	for name, raw := range variables {
		var value any
		text, _ := raw.(json.RawMessage)
		if err := json.Unmarshal(text, &value); err != nil {
			panic(err)
		}
		decoded[name] = value
	}
	if name == "PanicOutside" {
		panic("hunter2")
	}
	return e.schema.Exec(ctx, query, name, decoded)
}

const jwtSecret = "0123456789abcdef0123456789abcdef"

type bundle struct {
	*httptest.Server
	token    string
	log      *syncBuffer
	registry *prometheus.Registry
	ready    error
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func setup(t testing.TB, changes ...func(*httpapi.Config)) *bundle {
	t.Helper()
	b := &bundle{log: &syncBuffer{}, registry: obs.NewRegistry("api")}
	log := obs.NewLogger(b.log, env.Log{Level: slog.LevelDebug, Format: env.JSON}, "api")
	verifier, err := auth.New(t.Context(), auth.Config{Secret: []byte(jwtSecret), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := graphql.ParseSchema(testSDL, &root{}, graphql.MaxDepth(15), graphql.OverlapValidationLimit(5000),
		graphql.Logger(gqllog.LoggerFunc(func(context.Context, any) {})))
	if err != nil {
		t.Fatal(err)
	}
	config := httpapi.Config{
		Executor: executor{schema},
		Auth:     verifier,
		Ready:    func(context.Context) error { return b.ready },
		Registry: b.registry,
		Log:      log,
	}
	for _, change := range changes {
		change(&config)
	}
	handler, err := httpapi.New(config)
	if err != nil {
		t.Fatal(err)
	}
	b.token, err = token.Mint([]byte(jwtSecret), token.Claims{
		RegisteredClaims: jwt.RegisteredClaims{Subject: "u1"}, TenantID: "acme", Role: string(token.Admin),
	}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b.Server = httptest.NewServer(handler)
	t.Cleanup(b.Close)
	return b
}

// reply is an answer with its body read.
type reply struct {
	*http.Response
	body string
	json struct {
		Data   json.RawMessage
		Errors []struct {
			Message    string
			Locations  []struct{ Line, Column int }
			Extensions struct{ Code, RequestID string }
		}
	}
}

func (r *reply) code() string {
	if len(r.json.Errors) == 0 {
		return ""
	}
	return r.json.Errors[0].Extensions.Code
}

func (r *reply) message() string {
	if len(r.json.Errors) == 0 {
		return ""
	}
	return r.json.Errors[0].Message
}

// do sends a request with the token and the headers "Name: value"; a header
// without value is not sent.
func (b *bundle) do(t testing.TB, method, path, body string, headers ...string) *reply {
	t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, b.URL+path, reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+b.token)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		request.Header.Del(name)
		if value = strings.TrimSpace(value); value != "" {
			request.Header.Set(name, value)
		}
	}
	response, err := b.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := &reply{Response: response, body: string(text)}
	if isPlainJSON(response.Header, text) {
		if err := json.Unmarshal(text, &r.json); err != nil {
			t.Fatalf("answer %q: %v", text, err)
		}
	}
	return r
}

func (b *bundle) query(t testing.TB, query string, headers ...string) *reply {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query})
	if err != nil {
		t.Fatal(err)
	}
	return b.do(t, http.MethodPost, "/graphql", string(body), headers...)
}

func isPlainJSON(h http.Header, body []byte) bool {
	return strings.Contains(h.Get("Content-Type"), "json") && h.Get("Content-Encoding") == "" && len(body) > 0
}
