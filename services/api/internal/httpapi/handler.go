package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/graph-gophers/graphql-go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
)

// Executor executes one operation of a document. Variables are JSON text
// (json.RawMessage), so that values of type JSON keep their bytes.
//
// The errors of its response are fit for the caller's eyes and have an
// extensions.code; one without is taken for an accident and hidden.
type Executor interface {
	Exec(ctx context.Context, query, operationName string, variables map[string]any) *graphql.Response
}

// Authenticator tells who sends a request; the error's text is shown to the caller.
type Authenticator interface {
	FromRequest(r *http.Request) (auth.Principal, error)
}

// The default deadlines. A mutation may be a test send, which waits for the
// longest timeout of a webhook and two seconds more.
const (
	DefaultQueryTimeout    = 10 * time.Second
	DefaultMutationTimeout = 45 * time.Second
)

// Config is what the edge stands on; the limits and timeouts are optional.
type Config struct {
	Executor Executor
	Auth     Authenticator
	// Ready tells whether PostgreSQL answers. Redis does not count: accepting
	// goes on without it. What an error's Reason() string says, if it has one, is
	// shown to everybody.
	Ready    func(context.Context) error
	Registry *prometheus.Registry
	Log      *slog.Logger

	// Requests and Events bound what a tenant may send: operations, and events
	// to accept. nil does not.
	Requests *limit.Limiter
	Events   *limit.Limiter
	// Operations bounds what goes on at once for a tenant, accepting events apart,
	// and Bodies how many KiB of large bodies it has here. nil does not.
	Operations *limit.Places
	Bodies     *limit.Places

	QueryTimeout    time.Duration
	MutationTimeout time.Duration
}

// New returns the handler of all the api's paths.
func New(config Config) (http.Handler, error) {
	if config.Executor == nil || config.Auth == nil || config.Ready == nil || config.Registry == nil || config.Log == nil {
		return nil, errors.New("httpapi: Executor, Auth, Ready, Registry and Log must be set")
	}
	if config.QueryTimeout == 0 {
		config.QueryTimeout = DefaultQueryTimeout
	}
	if config.MutationTimeout == 0 {
		config.MutationTimeout = DefaultMutationTimeout
	}
	metrics := newMetrics(config.Registry)
	mux := http.NewServeMux()
	mux.Handle("/graphql", &graphQL{config: config, metrics: metrics})
	mux.Handle("GET /healthz", healthy())
	mux.Handle("GET /readyz", ready(config.Ready, config.Log))
	mux.Handle("GET /metrics", obs.MetricsHandler(config.Registry))
	if err := addGraphiQL(mux); err != nil {
		return nil, err
	}
	return observed(config.Log, secured(mux)), nil
}
