package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// wireTime is RFC 3339 in UTC with milliseconds.
const wireTime = "2006-01-02T15:04:05.000Z07:00"

var (
	errTime    = errors.New("must be an RFC 3339 timestamp such as 2026-11-23T10:00:00.000Z")
	errJSON    = errors.New("must be a JSON value")
	errText    = errors.New("must be a String")
	errID      = errors.New("must be an ID: a String or an integer")
	errInteger = errors.New("must be an Int: an integer of 32 bits")
)

// timestamp is the scalar Time.
type timestamp struct{ time.Time }

// ImplementsGraphQLType says which scalar this is.
func (timestamp) ImplementsGraphQLType(name string) bool { return name == "Time" }

// UnmarshalGraphQL reads RFC 3339 with any offset.
func (t *timestamp) UnmarshalGraphQL(input any) error {
	text, ok := input.(string)
	if !ok {
		return errTime
	}
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return errTime
	}
	t.Time = parsed
	return nil
}

// MarshalJSON writes UTC with milliseconds.
func (t timestamp) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(nil, `"`+wireTime+`"`), nil
}

// timestampOf returns nil, which is null, for the zero time.
func timestampOf(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	return &timestamp{t}
}

// jsonValue is the scalar JSON: the bytes of one JSON value.
type jsonValue struct{ raw json.RawMessage }

// ImplementsGraphQLType says which scalar this is.
func (jsonValue) ImplementsGraphQLType(name string) bool { return name == "JSON" }

// UnmarshalGraphQL keeps the bytes of a variable and spells out a literal.
func (v *jsonValue) UnmarshalGraphQL(input any) error {
	if raw, ok := input.(json.RawMessage); ok {
		v.raw = raw // decodeVariables has seen that it is JSON
		return nil
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(withNumbers(input)); err != nil {
		return errJSON
	}
	v.raw = bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	return nil
}

// MarshalJSON returns the bytes.
func (v jsonValue) MarshalJSON() ([]byte, error) { return v.raw, nil }

// withNumbers puts numbers back where exactNumbers left marks.
func withNumbers(v any) any {
	switch v := v.(type) {
	case string:
		if number, ok := strings.CutPrefix(v, numberMark); ok && json.Valid([]byte(number)) {
			return json.Number(number)
		}
	case map[string]any:
		for name, member := range v {
			v[name] = withNumbers(member)
		}
	case []any:
		for i, entry := range v {
			v[i] = withNumbers(entry)
		}
	}
	return v
}

// identifier is the scalar ID.
type identifier string

// ImplementsGraphQLType says which scalar this is.
func (identifier) ImplementsGraphQLType(name string) bool { return name == "ID" }

// UnmarshalGraphQL reads a string or an integer.
func (id *identifier) UnmarshalGraphQL(input any) error {
	switch input := input.(type) {
	case string:
		*id = identifier(input)
		return nil
	case json.Number:
		if strings.ContainsAny(input.String(), ".eE") {
			return errID
		}
		*id = identifier(input.String())
		return nil
	}
	n, ok := integerIn(input)
	if !ok {
		return errID
	}
	*id = identifier(strconv.FormatInt(n, 10))
	return nil
}

// parsed reads an id; false, and the zero id, when it is malformed. That is no
// error: it is treated as an id that nothing has.
func parsed[ID any](id identifier, parse func(string) (ID, error)) (ID, bool) {
	out, err := parse(string(id))
	return out, err == nil
}

// identifierOf names anything that has an id.
func identifierOf(id fmt.Stringer) identifier { return identifier(id.String()) }

// text is the scalar String, as an input.
type text string

// ImplementsGraphQLType says which scalar this is.
func (text) ImplementsGraphQLType(name string) bool { return name == "String" }

// UnmarshalGraphQL reads a string.
func (t *text) UnmarshalGraphQL(input any) error {
	s, ok := input.(string)
	if !ok {
		return errText
	}
	*t = text(s)
	return nil
}

// integer is the scalar Int, as an input.
type integer int32

// ImplementsGraphQLType says which scalar this is.
func (integer) ImplementsGraphQLType(name string) bool { return name == "Int" }

// UnmarshalGraphQL reads an integer however its number is spelt.
func (i *integer) UnmarshalGraphQL(input any) error {
	n, ok := integerIn(input)
	if !ok || n < math.MinInt32 || n > math.MaxInt32 {
		return errInteger
	}
	*i = integer(n)
	return nil
}

func integerIn(input any) (int64, bool) {
	switch input := input.(type) {
	case int32:
		return int64(input), true
	case int64:
		return input, true
	case int:
		return int64(input), true
	case float64:
		return int64(input), input == math.Trunc(input) && math.Abs(input) <= 1<<53
	case json.Number:
		if n, err := input.Int64(); err == nil {
			return n, true
		}
		f, err := input.Float64()
		return int64(f), err == nil && f == math.Trunc(f) && math.Abs(f) <= 1<<53
	}
	return 0, false
}
