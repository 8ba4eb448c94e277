// Package audits has the audits of the npm package graphql-http in Go, for tests of
// whatever serves GraphQL over HTTP. audit.mjs, beside it, runs the originals
// against a running service.
package audits

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	acceptJSON    = "Accept: application/json"
	acceptGraphQL = "Accept: application/graphql-response+json"
	typename      = `{"query":"{ __typename }"}`
)

// Audit is one audit.
type Audit struct {
	// ID is that of the original.
	ID string

	get     url.Values // sent by GET when set
	body    string
	headers []string
	status  [2]int // least and most
	media   string // part of the answer's Content-Type
	clean   bool   // the answer has no errors
	noData  bool   // the answer has no member data
}

// Request is what the audit sends to an endpoint, but for a token.
func (a Audit) Request(ctx context.Context, endpoint string) (*http.Request, error) {
	method, body := http.MethodPost, strings.NewReader(a.body)
	if a.get != nil {
		method, endpoint = http.MethodGet, endpoint+"?"+a.get.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, endpoint, body)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, header := range a.headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Set(name, value)
	}
	return r, nil
}

// Check reads the answer and returns all that is wrong with it.
func (a Audit) Check(r *http.Response) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if r.StatusCode < a.status[0] || r.StatusCode > a.status[1] {
		fault("status = %d, want %d to %d: %s", r.StatusCode, a.status[0], a.status[1], body)
	}
	if got := r.Header.Get("Content-Type"); !strings.Contains(got, a.media) || !strings.HasSuffix(got, "; charset=utf-8") {
		fault("Content-Type = %q, want %q in UTF-8", got, a.media)
	}
	if !utf8.Valid(body) {
		fault("body is not UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		fault("body is no JSON object: %w", err)
	}
	if list, has := members["errors"]; a.clean && has && !bytes.Equal(list, []byte("[]")) {
		fault("errors = %s", list)
	}
	if data, has := members["data"]; a.noData && has {
		fault("answer has data: %s", data)
	}
	return errors.Join(faults...)
}

// All returns the 61 audits.
func All() []Audit {
	return append(append(single(), wrongParameters()...), nullParameters()...)
}

func status(code int) [2]int { return [2]int{code, code} }

func withParameter(name, value string) string {
	return `{"query":"query Query { __typename }","` + name + `":` + value + `}`
}

func single() []Audit {
	ok, bad := status(http.StatusOK), status(http.StatusBadRequest)
	const byName = "query Type($name: String!) { __type(name: $name) { name } }"
	byNameBody := `{"query":"` + byName + `","variables":{"name":"sometype"}}`
	byNameURL := url.Values{"query": {byName}, "variables": {`{"name":"sometype"}`}}
	const unknownField = `{"query":"{ 8f31403dfe404bccbb0e835f2629c6a7 }"}`
	const coercion = `{"query":"query CoerceFailure($id: ID!){ __typename }","variables":{"id":null}}`
	return []Audit{
		{ID: "22EB", body: typename, headers: []string{acceptGraphQL}, status: ok, media: "application/graphql-response+json"},
		{ID: "4655", body: typename, headers: []string{acceptJSON}, status: ok, media: "application/json"},
		{ID: "47DE", body: typename, headers: []string{"Accept: */*"}, status: ok, media: "application/json"},
		{ID: "80D8", body: typename, status: ok, media: "application/json"},
		{ID: "82A3", body: typename, status: ok},
		{ID: "BF61", body: `{"query":"{ __type(name: \"Run🏃Swim🏊\") { name } }"}`, headers: []string{"Content-Type: application/json; charset=utf-8"}, status: ok},
		{ID: "78D5", body: typename, status: ok},
		{ID: "2C94", body: typename, status: ok},
		{ID: "5A70", get: url.Values{"query": {"{ __typename }"}}, status: ok},
		{ID: "9C48", get: url.Values{"query": {"mutation { __typename }"}}, headers: []string{acceptGraphQL}, status: [2]int{400, 499}},
		{ID: "9ABE", body: typename, headers: []string{"Content-Type: text/plain;charset=UTF-8"}, status: [2]int{400, 499}},
		{ID: "03D4", body: typename, status: ok},
		{ID: "A5BF", body: "", status: bad},
		{ID: "423L", body: `{"notquery":"{ __typename }"}`, headers: []string{acceptGraphQL}, status: bad},
		{ID: "34A2", body: typename, headers: []string{acceptGraphQL}, status: ok},
		{ID: "13EE", body: typename, headers: []string{acceptJSON}, status: ok, clean: true},
		{ID: "8161", body: withParameter("operationName", `"Query"`), headers: []string{acceptGraphQL}, status: ok},
		{ID: "B8B3", body: withParameter("operationName", `"Query"`), headers: []string{acceptJSON}, status: ok, clean: true},
		{ID: "2EA1", body: byNameBody, headers: []string{acceptGraphQL}, status: ok},
		{ID: "28B9", body: byNameBody, headers: []string{acceptJSON}, status: ok, clean: true},
		{ID: "D6D5", get: byNameURL, headers: []string{acceptGraphQL}, status: ok, clean: true},
		{ID: "6A70", get: byNameURL, headers: []string{acceptJSON}, status: ok, clean: true},
		{ID: "428F", body: withParameter("extensions", `{"some":"value"}`), headers: []string{acceptGraphQL}, status: ok},
		{ID: "1B7A", body: withParameter("extensions", `{"some":"value"}`), headers: []string{acceptJSON}, status: ok, clean: true},
		{ID: "B6DC", body: `{ "not a JSON`, headers: []string{acceptJSON}, status: [2]int{200, 599}},
		{ID: "BCF8", body: `{ "not a JSON`, headers: []string{acceptJSON}, status: bad},
		{ID: "B7N8", body: `{ "not a JSON`, headers: []string{acceptGraphQL}, status: bad},
		{ID: "8764", body: `{"qeury":"{ __typename }"}`, status: [2]int{400, 599}},
		{ID: "3E3A", body: `{"qeury":"{ __typename }"}`, status: bad},
		{ID: "572B", body: `{"query":"{"}`, headers: []string{acceptJSON}, status: ok},
		{ID: "FDE2", body: unknownField, headers: []string{acceptJSON}, status: ok},
		{ID: "7B9B", body: coercion, headers: []string{acceptJSON}, status: ok},
		{ID: "865D", body: `{"query":"{"}`, headers: []string{acceptGraphQL}, status: [2]int{400, 599}},
		{ID: "556A", body: `{"query":"{"}`, headers: []string{acceptGraphQL}, status: bad},
		{ID: "D586", body: `{"query":"{"}`, headers: []string{acceptGraphQL}, status: bad, noData: true},
		{ID: "51FE", body: unknownField, headers: []string{acceptGraphQL}, status: [2]int{400, 599}},
		{ID: "74FF", body: unknownField, headers: []string{acceptGraphQL}, status: bad},
		{ID: "5E5B", body: unknownField, headers: []string{acceptGraphQL}, status: bad, noData: true},
		{ID: "86EE", body: coercion, headers: []string{acceptGraphQL}, status: bad},
	}
}

// wrongParameters are the four kinds of value that each parameter is not.
func wrongParameters() []Audit {
	notString := []string{`{"an":"object"}`, `0`, `false`, `["array"]`}
	notObject := []string{`"string"`, `0`, `false`, `["array"]`}
	list := make([]Audit, 0, 16)
	for i := range 4 {
		n := string(rune('0' + i))
		bad := status(http.StatusBadRequest)
		list = append(list,
			Audit{ID: "LKJ" + n, body: `{"query":` + notString[i] + `}`, status: bad},
			Audit{ID: "6C0" + n, body: withParameter("operationName", notString[i]), status: bad},
			Audit{ID: "476" + n, body: withParameter("variables", notObject[i]), status: bad},
			Audit{ID: "58B" + n, body: withParameter("extensions", notObject[i]), status: bad},
		)
	}
	return list
}

func nullParameters() []Audit {
	var list []Audit
	for i, name := range []string{"variables", "operationName", "extensions"} {
		n := string(rune('0' + i))
		body := withParameter(name, "null")
		list = append(list,
			Audit{ID: "94B" + n, body: body, headers: []string{acceptGraphQL}, status: status(http.StatusOK), clean: true},
			Audit{ID: "022" + n, body: body, headers: []string{acceptJSON}, status: status(http.StatusOK), clean: true},
		)
	}
	return list
}
