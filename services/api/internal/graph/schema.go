package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"

	"github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"
	gqllog "github.com/graph-gophers/graphql-go/log"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/schema"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

const (
	maxDepth        = 15    // graphql-js' introspection query needs it
	maxOverlapPairs = 5_000 // validation takes the square of fields of one name
	defaultParallel = 4     // resolvers of one request at a time
	maxMaking       = 2     // large answers, each of which takes some 50 MiB for a moment
)

// Management is what the resolvers need of the use cases behind webhooks and
// their deliveries.
type Management interface {
	WebhookReader
	WebhookWriter
	WebhookTester
	DeliveryReader
	DeliveryRetrier
	StatsReader
}

// Config is what the resolvers stand on; URLRules and Events are optional.
type Config struct {
	Management Management
	Accept     Accepter
	URLRules   webhook.URLRules
	// Events bounds the events that a tenant may send, and Requests what it may ask
	// for: what costs much counts as many requests. nil does not.
	Events, Requests *limit.Limiter
	// Large bounds the large answers that a tenant has here at a time; nil does not.
	Large *limit.Places
	// Parallel is how many connections one request may use; 0 means 4.
	Parallel int
	Log      *slog.Logger
}

// Schema executes GraphQL requests. It is safe for concurrent use.
type Schema struct {
	schema   *graphql.Schema
	errors   errorMapper
	requests *limit.Limiter
	large    *limit.Places
	making   chan struct{} // holds a token for each large answer that is made
}

// api is what all resolvers share.
type api struct {
	Config
	errorMapper
}

// root is the resolver of the schema's roots.
type root struct{ api *api }

// Query returns the resolver of the type Query.
func (r root) Query() *query { return &query{r.api} }

// Mutation returns the resolver of the type Mutation.
func (r root) Mutation() *mutation { return &mutation{r.api} }

// query resolves the type Query; its methods stand in the files of their nouns.
type query struct{ *api }

// mutation resolves the type Mutation.
type mutation struct{ *api }

// NewSchema parses the SDL and binds it to its resolvers; a mismatch of the two
// is an error.
func NewSchema(config Config) (*Schema, error) {
	if config.Management == nil || config.Accept == nil || config.Log == nil {
		return nil, errors.New("graph: Management, Accept and Log must be set")
	}
	if config.Parallel == 0 {
		config.Parallel = defaultParallel
	}
	mapper := errorMapper{config.Log}
	parsed, err := graphql.ParseSchema(schema.GraphQL(), root{&api{config, mapper}},
		graphql.UseStringDescriptions(),
		graphql.UseFieldResolvers(),
		graphql.MaxDepth(maxDepth),
		graphql.MaxSelections(protocol.MaxSelections),
		graphql.MaxQueryLength(8*protocol.MaxDocumentBytes), // Exec has refused longer ones; marked numbers add to it
		graphql.OverlapValidationLimit(maxOverlapPairs),
		graphql.MaxParallelism(config.Parallel),
		graphql.Tracer(requestTracer{}),
		graphql.DisableFieldSelections(), // nobody asks what is selected below a field
		graphql.Logger(gqllog.LoggerFunc(mapper.logPanic)),
		graphql.PanicHandler(mapper),
		// Exec has refused by then, in words; this only leaves the fields out.
		graphql.RestrictIntrospection(mayIntrospect),
	)
	if err != nil {
		return nil, fmt.Errorf("graph: binding the schema: %w", err)
	}
	return &Schema{
		schema: parsed, errors: mapper, requests: config.Requests,
		large: config.Large, making: make(chan struct{}, maxMaking),
	}, nil
}

// Exec executes one operation. Every error in the response has an
// extensions.code, and a panic becomes an INTERNAL error.
//
// A variable given as json.RawMessage reaches the use cases without loss; one
// that was decoded before is taken as it is. The map itself is left alone.
func (s *Schema) Exec(ctx context.Context, document, operationName string, variables map[string]any) *graphql.Response {
	return s.exec(ctx, &request{}, document, operationName, variables)
}

func (s *Schema) exec(ctx context.Context, r *request, document, operationName string, variables map[string]any) (resp *graphql.Response) {
	defer func() {
		if value := recover(); value != nil { // the library recovers while it executes, not before
			s.errors.logPanic(ctx, value)
			resp = &graphql.Response{Errors: []*gqlerrors.QueryError{s.errors.MakePanicError(ctx, value)}}
		}
		s.errors.finish(ctx, resp)
	}()
	if len(document) > protocol.MaxDocumentBytes {
		return failed(&apiError{code: protocol.CodeLimitExceeded, message: fmt.Sprintf("query must have at most %d bytes", protocol.MaxDocumentBytes)})
	}
	outline := outlineOf(document)
	if outline.introspects {
		if _, err := enter(ctx, opIntrospection); err != nil {
			return failed(err)
		}
	}
	decoded, err := r.decode(variables, outline.json)
	if err != nil {
		return failed(err)
	}
	running, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.cancel, r.finish = cancel, r.budget.finish
	r.budget.nameSize = outline.longestAlias
	r.budget.refuse = func(err error) { r.refuse(s.errors.entry(ctx, err)) }
	r.turn = turn{tenants: s.large, all: s.making}
	defer r.turn.end()
	r.budget.enlarge = func() {
		if !r.turn.take(running) {
			r.budget.refuse(&apiError{code: protocol.CodeLimitExceeded, message: protocol.TooMany("large answers"), wait: protocol.Busy})
		}
	}
	resp = s.schema.Exec(context.WithValue(running, requestKey{}, r), exactNumbers(document), operationName, decoded)
	if principal, ok := auth.FromContext(ctx); ok {
		s.requests.Charge(principal.Tenant, r.budget.requests())
	}
	switch refusal := r.refusal.Load(); {
	case refusal != nil:
		return &graphql.Response{Errors: []*gqlerrors.QueryError{refusal}, Data: json.RawMessage("null")}
	case len(r.faults) > 0:
		return &graphql.Response{Errors: r.faults}
	}
	if len(resp.Errors) > 0 && string(resp.Data) == "{}" {
		resp.Data = nil // nothing was executed: a literal did not fit its scalar
	}
	return resp
}

func failed(err error) *graphql.Response {
	return &graphql.Response{Errors: []*gqlerrors.QueryError{queryError(err)}}
}

// queryError shows an error that is fit for the caller's eyes.
func queryError(err error) *gqlerrors.QueryError {
	e := &gqlerrors.QueryError{Message: err.Error()}
	var mapped *apiError
	if errors.As(err, &mapped) {
		e.Extensions = mapped.Extensions()
	}
	return e
}

// MakePanicError says INTERNAL and nothing else, unless the library gave up on a
// literal that is no number or no string of Go.
func (m errorMapper) MakePanicError(ctx context.Context, value any) *gqlerrors.QueryError {
	mapped := internal(ctx)
	if badLiteral(value) {
		mapped = &apiError{code: protocol.CodeBadUserInput, message: "a literal in the query is out of range or malformed; pass it as a variable"}
	}
	return &gqlerrors.QueryError{Message: mapped.message, Extensions: mapped.Extensions()}
}

func (m errorMapper) logPanic(ctx context.Context, value any) {
	if badLiteral(value) {
		return
	}
	m.log.ErrorContext(ctx, "panic while answering a request",
		slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(debug.Stack())))
}

func badLiteral(value any) bool {
	err, ok := value.(error)
	var number *strconv.NumError
	return ok && (errors.As(err, &number) || errors.Is(err, strconv.ErrSyntax))
}

var _ json.Marshaler = jsonValue{}
