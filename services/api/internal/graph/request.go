package graph

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"

	gqlerrors "github.com/graph-gophers/graphql-go/errors"
	"github.com/graph-gophers/graphql-go/introspection"
	"github.com/graph-gophers/graphql-go/trace/noop"
)

// request is what one call of Exec keeps for the hooks of the library.
type request struct {
	raws   map[string]json.RawMessage
	faults []*gqlerrors.QueryError // of the variables
	budget budget

	finish  func(*gqlerrors.QueryError) // of the budget
	cancel  context.CancelCauseFunc
	refusal atomic.Pointer[gqlerrors.QueryError]
	changes atomic.Bool // whether a mutation has begun
	turn    turn        // to make a large answer
}

type requestKey struct{}

var (
	errBadVariables = errors.New("variables do not fit their types")
	errRefused      = errors.New("the request asks for too much")
)

// refuse ends the request: nothing is executed any more, and the answer is this
// error. Going on would make one for each field that is left.
func (r *request) refuse(e *gqlerrors.QueryError) {
	if r.changes.Load() {
		e.Message += "; what it has changed stays changed"
	}
	if r.refusal.CompareAndSwap(nil, e) {
		r.cancel(errRefused)
	}
}

// requestTracer sees what the library gives no other chance to see.
type requestTracer struct{ noop.Tracer }

// TraceQuery is called between a request's validation and its execution, when the
// types of its variables are known, with the very map that arguments are taken
// from. A fault of the variables ends the request before anything is done.
func (requestTracer) TraceQuery(ctx context.Context, _, _ string, variables map[string]any, types map[string]*introspection.Type) (context.Context, func([]*gqlerrors.QueryError)) {
	r, ok := ctx.Value(requestKey{}).(*request)
	if ok && !r.takeVariables(variables, types) {
		r.cancel(errBadVariables)
	}
	return ctx, func([]*gqlerrors.QueryError) {}
}

// TraceField is called for each field of the answer, as often as it is there,
// those of introspection included.
func (requestTracer) TraceField(ctx context.Context, _, typeName, name string, _ bool, _ map[string]any) (context.Context, func(*gqlerrors.QueryError)) {
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return ctx, func(*gqlerrors.QueryError) {}
	}
	r.budget.field(name)
	if typeName == "Mutation" {
		r.changes.Store(true)
		r.turn.end() // it may wait for a receiver, or for others' events to be stored
	}
	return ctx, r.finish
}
