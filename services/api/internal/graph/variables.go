package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/graph-gophers/graphql-go/decode"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"
	"github.com/graph-gophers/graphql-go/introspection"
	"github.com/graph-gophers/graphql-go/trace/noop"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

// maxInputDepth is deeper than any input type nests. What lies deeper can only
// be inside a JSON value, and is not taken apart.
const maxInputDepth = 6

// decodeVariables makes of variables what the library reads. A value that is
// still JSON text (json.RawMessage) is decoded without loss: numbers keep their
// spelling and the members `object` and `previous` their bytes.
//
// The raw values are returned, too: only the parsed document says which variable
// is of type JSON as a whole.
func decodeVariables(variables map[string]any) (map[string]any, map[string]json.RawMessage, error) {
	decoded := make(map[string]any, len(variables))
	raws := map[string]json.RawMessage{}
	for name, value := range variables {
		raw, ok := value.(json.RawMessage)
		if !ok {
			decoded[name] = value
			continue
		}
		v, err := decodeInput(raw, 0)
		if err != nil {
			return nil, nil, &apiError{code: protocol.CodeBadUserInput, message: "variables." + protocol.Shortened(name) + " must be a JSON value"}
		}
		decoded[name] = v
		if v != nil {
			raws[name] = raw
		}
	}
	return decoded, raws, nil
}

func decodeInput(raw json.RawMessage, depth int) (any, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, errJSON
	}
	switch {
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case raw[0] != '{' && raw[0] != '[':
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		var v any
		err := dec.Decode(&v)
		return v, err
	case depth == maxInputDepth:
		return raw, nil
	case raw[0] == '[':
		return decodeList(raw, depth)
	default:
		return decodeObject(raw, depth)
	}
}

func decodeList(raw json.RawMessage, depth int) (any, error) {
	var entries []json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, err
	}
	out := make([]any, len(entries))
	for i, entry := range entries {
		v, err := decodeInput(entry, depth+1)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func decodeObject(raw json.RawMessage, depth int) (any, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	out := make(map[string]any, len(members))
	for name, member := range members {
		if (name == "object" || name == "previous") && string(member) != "null" {
			out[name] = member
			continue
		}
		v, err := decodeInput(member, depth+1)
		if err != nil {
			return nil, err
		}
		out[name] = v
	}
	return out, nil
}

// request is what one call of Exec keeps for the hooks of the library.
type request struct {
	raws   map[string]json.RawMessage
	faults []*gqlerrors.QueryError // of the variables
	budget budget
}

type requestKey struct{}

// variableTracer sees a request between its validation and its execution, when
// the types of its variables are known, and finishes what the library leaves
// undone: it hands JSON over as it came, and checks that scalars are of their
// types. A fault ends the request before anything is done.
type variableTracer struct{ noop.Tracer }

var errBadVariables = errors.New("variables do not fit their types")

// TraceQuery is called with the very map that arguments are taken from.
func (variableTracer) TraceQuery(ctx context.Context, _, _ string, variables map[string]any, types map[string]*introspection.Type) (context.Context, func([]*gqlerrors.QueryError)) {
	done := func([]*gqlerrors.QueryError) {}
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return ctx, done
	}
	for _, name := range sortedNames(types) {
		value, given := variables[name]
		if !given || value == nil {
			continue
		}
		if raw, ok := r.raws[name]; ok && scalarName(types[name]) == "JSON" {
			value = raw
			variables[name] = raw
		}
		r.check([]string{"variables", name}, value, types[name])
	}
	if len(r.faults) == 0 {
		return ctx, done
	}
	ctx, cancel := context.WithCancelCause(ctx)
	cancel(errBadVariables)
	return ctx, done
}

// check looks at scalars only: the library has seen to nulls, enums and fields.
func (r *request) check(path []string, value any, t *introspection.Type) {
	switch {
	case value == nil || len(r.faults) >= protocol.MaxErrors:
	case t.Kind() == "NON_NULL":
		r.check(path, value, t.OfType())
	case t.Kind() == "LIST":
		entries, ok := value.([]any)
		if !ok {
			r.check(path, value, t.OfType())
		}
		for i, entry := range entries {
			r.check(append(slices.Clip(path), strconv.Itoa(i)), entry, t.OfType())
		}
	case t.Kind() == "INPUT_OBJECT":
		members, _ := value.(map[string]any)
		for _, field := range *t.InputFields(&struct{ IncludeDeprecated bool }{true}) {
			r.check(append(slices.Clip(path), field.Name()), members[field.Name()], field.Type())
		}
	case t.Kind() == "SCALAR":
		if err := checkScalar(*t.Name(), value); err != nil {
			r.faults = append(r.faults, &gqlerrors.QueryError{
				Message:    protocol.Shortened(strings.Join(path, ".") + " " + err.Error()),
				Extensions: map[string]any{"code": protocol.CodeBadUserInput},
			})
		}
	}
}

func checkScalar(name string, value any) error {
	for _, scalar := range []decode.Unmarshaler{new(timestamp), new(identifier), new(text), new(integer)} {
		if scalar.ImplementsGraphQLType(name) {
			return scalar.UnmarshalGraphQL(value)
		}
	}
	if _, isBool := value.(bool); name == "Boolean" && !isBool {
		return errors.New("must be a Boolean")
	}
	return nil // JSON is anything
}

func scalarName(t *introspection.Type) string {
	if t.Kind() == "NON_NULL" {
		t = t.OfType()
	}
	if t.Kind() != "SCALAR" {
		return ""
	}
	return *t.Name()
}

func sortedNames(types map[string]*introspection.Type) []string {
	names := make([]string, 0, len(types))
	for name := range types {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
