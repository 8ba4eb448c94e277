package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

// graphQL answers /graphql.
type graphQL struct {
	config  Config
	metrics *metrics
}

func (g *graphQL) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	fact := factsOf(r.Context())
	a := g.answer(r, fact)
	a.write(w, r)
	fact.outcome = a.outcome()
	g.metrics.observe(fact, time.Since(started))
}

// answer takes the cheap decisions first: nothing of a body is read before the
// caller is known, nothing parsed before it is known to be JSON of bounded size.
func (g *graphQL) answer(r *http.Request, fact *facts) answer {
	if r.Method != http.MethodPost && r.Method != http.MethodGet {
		a := refuse(http.StatusMethodNotAllowed, protocol.CodeBadUserInput, "method must be POST or GET")
		a.header.Set("Allow", "GET, POST")
		return a
	}
	mediaType, ok := negotiate(r.Header.Values("Accept"))
	if !ok {
		return refuse(http.StatusNotAcceptable, protocol.CodeBadUserInput,
			"Accept must allow "+mediaTypeGraphQL+" or "+mediaTypeJSON)
	}
	principal, err := g.config.Auth.FromRequest(r)
	if err != nil {
		a := refuse(http.StatusUnauthorized, protocol.CodeUnauthenticated, err.Error()).as(mediaType)
		a.header.Set("WWW-Authenticate", `Bearer realm="crm-webhooks"`)
		fact.refusal = err
		return a
	}
	fact.tenant = principal.Tenant
	params, refusal := readParams(r)
	if refusal != nil {
		return refusal.as(mediaType)
	}
	return g.execute(r, principal, params, fact).as(mediaType)
}

func (g *graphQL) execute(r *http.Request, principal auth.Principal, p params, fact *facts) answer {
	operation, problem := inspect(p.query, p.operationName)
	if problem != nil {
		return answer{response: &graphql.Response{Errors: []*gqlerrors.QueryError{problem}}}
	}
	fact.operation, fact.operationType = operation.name, operation.kind
	if r.Method == http.MethodGet && operation.kind != kindQuery {
		a := refuse(http.StatusMethodNotAllowed, protocol.CodeBadUserInput, "only queries can be executed by GET")
		a.header.Set("Allow", "POST")
		return a
	}
	timeout := g.config.QueryTimeout
	if operation.kind == kindMutation {
		timeout = g.config.MutationTimeout
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), timeout, fmt.Errorf("%s budget of %s used", operation.kind, timeout))
	defer cancel()
	response := g.config.Executor.Exec(auth.WithPrincipal(ctx, principal), p.query, p.operationName, p.variables)
	return answer{response: g.vet(ctx, response)}
}
