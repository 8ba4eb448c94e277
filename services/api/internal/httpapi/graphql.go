package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
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
	defer fact.leave()
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
	if refusal := g.admitBody(r, fact); refusal != nil {
		return refusal.as(mediaType)
	}
	params, refusal := readParams(r)
	if refusal != nil {
		return refusal.as(mediaType)
	}
	return g.execute(r, principal, params, fact).as(mediaType)
}

func (g *graphQL) execute(r *http.Request, principal auth.Principal, p params, fact *facts) answer {
	operation, problem := inspect(p.query, p.operationName)
	if problem != nil {
		if refusal := g.rate(principal.Tenant, operation); refusal != nil {
			return *refusal
		}
		return answer{response: &graphql.Response{Errors: []*gqlerrors.QueryError{problem}}}
	}
	fact.operation, fact.operationType = operation.name, operation.kind
	if refusal := g.rate(principal.Tenant, operation); refusal != nil {
		return *refusal
	}
	if r.Method == http.MethodGet && operation.kind != kindQuery {
		a := refuse(http.StatusMethodNotAllowed, protocol.CodeBadUserInput, "only queries can be executed by GET")
		a.header.Set("Allow", "POST")
		return a
	}
	ctx := r.Context()
	if !operation.onlyDispatches() {
		place, refusal := g.admit(ctx, g.config.Operations, fact, 1)
		if refusal != nil {
			return *refusal
		}
		ctx = limit.WithPlace(ctx, place)
	}
	timeout := g.config.QueryTimeout
	if operation.kind == kindMutation {
		timeout = g.config.MutationTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%s budget of %s used", operation.kind, timeout))
	defer cancel()
	response := g.config.Executor.Exec(auth.WithPrincipal(ctx, principal), p.query, p.operationName, p.variables)
	return answer{response: g.vet(ctx, response)}
}

// rate takes an operation from its tenant's allowance: a request, unless it does
// nothing but accept events, and an event for each field that accepts some. What
// else a batch holds the executor takes: here nobody has looked at variables.
func (g *graphQL) rate(tenant webhook.TenantID, o operation) *answer {
	things, wait, ok := "requests", time.Duration(0), true
	if !o.onlyDispatches() {
		wait, ok = g.config.Requests.Take(tenant, 1)
	}
	if ok && o.dispatches > 0 {
		things = "events"
		wait, ok = g.config.Events.Take(tenant, o.dispatches)
	}
	if ok {
		return nil
	}
	return comeBack(protocol.TooFast(things), wait)
}

// admitBody waits until the tenant has room for a large body. Small ones need none,
// so that nobody who looks at something waits for somebody who sends much.
func (g *graphQL) admitBody(r *http.Request, fact *facts) *answer {
	size := r.ContentLength
	if size < 0 || size > maxBodyBytes {
		size = maxBodyBytes // as it comes in chunks, or will be refused
	}
	if size <= largeBodyBytes {
		return nil
	}
	_, refusal := g.admit(r.Context(), g.config.Bodies, fact, int(size>>10))
	if refusal != nil {
		refusal.header.Set("Connection", "close") // the body is not worth reading
	}
	return refusal
}

func (g *graphQL) admit(ctx context.Context, places *limit.Places, fact *facts, n int) (*limit.Place, *answer) {
	place, ok := places.Take(ctx, fact.tenant, n)
	if !ok {
		return nil, comeBack(protocol.TooMany("requests"), protocol.Busy)
	}
	fact.places = append(fact.places, place)
	return place, nil
}

func comeBack(message string, wait time.Duration) *answer {
	a := refuse(http.StatusTooManyRequests, protocol.CodeLimitExceeded, message)
	a.response.Errors[0].Extensions[protocol.KeyRetryAfter] = wait.Milliseconds()
	return &a
}
