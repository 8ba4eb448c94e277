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
	maxParallel     = 20    // resolvers of one request at a time
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
	// Events bounds the events that a tenant may send; nil does not.
	Events *limit.Limiter
	Log    *slog.Logger
}

// Schema executes GraphQL requests. It is safe for concurrent use.
type Schema struct {
	schema *graphql.Schema
	errors errorMapper
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
	mapper := errorMapper{config.Log}
	parsed, err := graphql.ParseSchema(schema.GraphQL(), root{&api{config, mapper}},
		graphql.UseStringDescriptions(),
		graphql.UseFieldResolvers(),
		graphql.MaxDepth(maxDepth),
		graphql.MaxSelections(protocol.MaxSelections),
		graphql.MaxQueryLength(8*protocol.MaxDocumentBytes), // Exec has refused longer ones; marked numbers add to it
		graphql.OverlapValidationLimit(maxOverlapPairs),
		graphql.MaxParallelism(maxParallel),
		graphql.Tracer(variableTracer{}),
		graphql.Logger(gqllog.LoggerFunc(mapper.logPanic)),
		graphql.PanicHandler(mapper),
		graphql.RestrictIntrospection(authenticated),
	)
	if err != nil {
		return nil, fmt.Errorf("graph: binding the schema: %w", err)
	}
	return &Schema{schema: parsed, errors: mapper}, nil
}

// authenticated lets everybody with a token see the schema: it is public, and
// tools need it. Nobody else gets this far.
func authenticated(ctx context.Context) bool {
	_, ok := auth.FromContext(ctx)
	return ok
}

// Exec executes one operation. Every error in the response has an
// extensions.code, and a panic becomes an INTERNAL error.
//
// A variable given as json.RawMessage reaches the use cases without loss; one
// that was decoded before is taken as it is. The map itself is left alone.
func (s *Schema) Exec(ctx context.Context, document, operationName string, variables map[string]any) (resp *graphql.Response) {
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
	decoded, raws, err := decodeVariables(variables)
	if err != nil {
		return failed(err)
	}
	r := &request{raws: raws}
	resp = s.schema.Exec(context.WithValue(ctx, requestKey{}, r), exactNumbers(document), operationName, decoded)
	if len(r.faults) > 0 {
		return &graphql.Response{Errors: r.faults}
	}
	if len(resp.Errors) > 0 && string(resp.Data) == "{}" {
		resp.Data = nil // nothing was executed: a literal did not fit its scalar
	}
	return resp
}

func failed(err error) *graphql.Response {
	e := &gqlerrors.QueryError{Message: err.Error()}
	var mapped *apiError
	if errors.As(err, &mapped) {
		e.Extensions = mapped.Extensions()
	}
	return &graphql.Response{Errors: []*gqlerrors.QueryError{e}}
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
