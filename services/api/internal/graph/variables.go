package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/graph-gophers/graphql-go/decode"
	"github.com/graph-gophers/graphql-go/introspection"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

const (
	// maxInputDepth is deeper than any input type nests. What lies deeper can only
	// be inside a JSON value, and is not taken apart.
	maxInputDepth = 6
	// maxEntries is one more than any list of an input may have: the rest would not
	// change the answer. The library makes an error for each entry that is wrong,
	// and a body has room for half a million.
	maxEntries = maxEvents + 1
	// maxValues bounds all entries and members together, JSON apart: twice what the
	// largest list of events has.
	maxValues = 20_000
)

var errTooManyValues = &apiError{code: protocol.CodeLimitExceeded, message: fmt.Sprintf("variables must have at most %d values", maxValues)}

// inputDecoder makes of variables what the library reads. A value that is still
// JSON text (json.RawMessage) is decoded without loss: numbers keep their spelling
// and the members `object` and `previous` their bytes.
type inputDecoder struct{ left int }

// decode keeps the raw values, too: only the parsed document says for sure which
// variable is of type JSON as a whole. Those of which its outline says so are not
// taken apart.
func (r *request) decode(variables map[string]any, asJSON map[string]bool) (map[string]any, error) {
	decoded := make(map[string]any, len(variables))
	r.raws = map[string]json.RawMessage{}
	d := inputDecoder{left: maxValues}
	for name, value := range variables {
		raw, ok := value.(json.RawMessage)
		if !ok {
			decoded[name] = value
			continue
		}
		if asJSON[name] && json.Valid(raw) && string(bytes.TrimSpace(raw)) != "null" {
			decoded[name], r.raws[name] = raw, raw
			continue
		}
		v, err := d.variable(name, raw)
		if err != nil {
			return nil, err
		}
		decoded[name] = v
		if v != nil {
			r.raws[name] = raw
		}
	}
	return decoded, nil
}

func (d *inputDecoder) variable(name string, raw json.RawMessage) (any, error) {
	v, err := d.value(raw, 0)
	if err != nil && !errors.Is(err, errTooManyValues) {
		err = &apiError{code: protocol.CodeBadUserInput, message: "variables." + protocol.Shortened(name) + " must be a JSON value"}
	}
	return v, err
}

func (d *inputDecoder) value(raw json.RawMessage, depth int) (any, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, errJSON
	}
	if d.left--; d.left < 0 {
		return nil, errTooManyValues
	}
	switch {
	case raw[0] == '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case raw[0] != '{' && raw[0] != '[':
		return literal(raw)
	case depth == maxInputDepth:
		return raw, nil
	case raw[0] == '[':
		return d.list(raw, depth)
	default:
		return d.object(raw, depth)
	}
}

// literal keeps numbers as they are spelt.
func literal(raw json.RawMessage) (any, error) {
	switch text := string(raw); {
	case !json.Valid(raw):
		return nil, errJSON
	case text == "null":
		return nil, nil
	case text == "true", text == "false":
		return text == "true", nil
	default:
		return json.Number(text), nil
	}
}

// list takes no more than maxEntries: that there are more is seen by their number.
func (d *inputDecoder) list(raw json.RawMessage, depth int) (any, error) {
	var out []any
	err := inside(raw, func(dec *json.Decoder) error {
		var entry json.RawMessage
		if err := dec.Decode(&entry); err != nil {
			return err
		}
		v, err := d.value(entry, depth+1)
		if out = append(out, v); err == nil && len(out) == maxEntries {
			err = errEnough
		}
		return err
	})
	return out, err
}

func (d *inputDecoder) object(raw json.RawMessage, depth int) (any, error) {
	out := map[string]any{}
	err := inside(raw, func(dec *json.Decoder) error {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		var member json.RawMessage
		if err := dec.Decode(&member); err != nil {
			return err
		}
		name, _ := token.(string)
		if (name == "object" || name == "previous") && string(member) != "null" {
			out[name] = member
			return nil
		}
		out[name], err = d.value(member, depth+1)
		return err
	})
	return out, err
}

var errEnough = errors.New("no more is wanted")

// inside calls each for what a list or an object holds, until that is errEnough.
func inside(raw json.RawMessage, each func(*json.Decoder) error) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		if err := each(dec); err != nil {
			if errors.Is(err, errEnough) {
				return nil
			}
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// takeVariables finishes what the library leaves undone: it hands JSON over as it
// came, and checks lists and scalars. False means that there are faults.
func (r *request) takeVariables(variables map[string]any, types map[string]*introspection.Type) bool {
	for _, name := range sortedNames(types) {
		value, given := variables[name]
		if !given || value == nil {
			continue
		}
		raw, isRaw := value.(json.RawMessage)
		switch {
		case nameOf(types[name]) == "JSON":
			if raw, ok := r.raws[name]; ok {
				value = raw
			}
		case isRaw: // JSON to another operation of the document
			decoded, err := (&inputDecoder{left: maxValues}).variable(name, raw)
			if err != nil {
				r.faults = append(r.faults, queryError(err))
				continue
			}
			value = decoded
		}
		variables[name] = value
		r.check([]string{"variables", name}, value, types[name])
	}
	return len(r.faults) == 0
}

// check looks at lists and scalars only: the library has seen to nulls, enums and
// fields.
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
		if len(entries) == maxEntries && nameOf(t.OfType()) != "DispatchEventInput" { // that list has userErrors
			r.fault(protocol.CodeLimitExceeded, path, fmt.Sprintf("must have at most %d entries", maxEntries-1))
			return
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
			r.fault(protocol.CodeBadUserInput, path, err.Error())
		}
	}
}

func (r *request) fault(code string, path []string, rule string) {
	r.faults = append(r.faults, queryError(&apiError{code: code, message: protocol.Shortened(strings.Join(path, ".") + " " + rule)}))
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

// nameOf is the name of a type that is no list; it may be required.
func nameOf(t *introspection.Type) string {
	if t.Kind() == "NON_NULL" {
		t = t.OfType()
	}
	if name := t.Name(); name != nil {
		return *name
	}
	return ""
}

func sortedNames(types map[string]*introspection.Type) []string {
	names := make([]string, 0, len(types))
	for name := range types {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
