package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	acceptJSON    = "Accept: application/json"
	acceptGraphQL = "Accept: application/graphql-response+json"
	typename      = `{"query":"{ __typename }"}`
)

// audit is one audit of the npm package graphql-http, by its id: audits/ runs
// the originals against a running service.
type audit struct {
	id      string
	get     url.Values // sent by GET when set
	body    string
	headers []string
	status  [2]int // least and most
	media   string // part of the answer's Content-Type
	clean   bool   // the answer has no errors
	noData  bool   // the answer has no member data
}

func status(code int) [2]int { return [2]int{code, code} }

func withParameter(name, value string) string {
	return `{"query":"query Query { __typename }","` + name + `":` + value + `}`
}

func audits() []audit {
	ok, bad := status(http.StatusOK), status(http.StatusBadRequest)
	const byName = "query Type($name: String!) { __type(name: $name) { name } }"
	byNameBody := `{"query":"` + byName + `","variables":{"name":"sometype"}}`
	byNameURL := url.Values{"query": {byName}, "variables": {`{"name":"sometype"}`}}
	const unknownField = `{"query":"{ 8f31403dfe404bccbb0e835f2629c6a7 }"}`
	const coercion = `{"query":"query CoerceFailure($id: ID!){ __typename }","variables":{"id":null}}`
	list := []audit{
		{id: "22EB", body: typename, headers: []string{acceptGraphQL}, status: ok, media: "application/graphql-response+json"},
		{id: "4655", body: typename, headers: []string{acceptJSON}, status: ok, media: "application/json"},
		{id: "47DE", body: typename, headers: []string{"Accept: */*"}, status: ok, media: "application/json"},
		{id: "80D8", body: typename, status: ok, media: "application/json"},
		{id: "82A3", body: typename, status: ok},
		{id: "BF61", body: `{"query":"{ __type(name: \"Run🏃Swim🏊\") { name } }"}`, headers: []string{"Content-Type: application/json; charset=utf-8"}, status: ok},
		{id: "78D5", body: typename, status: ok},
		{id: "2C94", body: typename, status: ok},
		{id: "5A70", get: url.Values{"query": {"{ __typename }"}}, status: ok},
		{id: "9C48", get: url.Values{"query": {"mutation { __typename }"}}, headers: []string{acceptGraphQL}, status: [2]int{400, 499}},
		{id: "9ABE", body: typename, headers: []string{"Content-Type: text/plain;charset=UTF-8"}, status: [2]int{400, 499}},
		{id: "03D4", body: typename, status: ok},
		{id: "A5BF", body: "", status: bad},
		{id: "423L", body: `{"notquery":"{ __typename }"}`, headers: []string{acceptGraphQL}, status: bad},
		{id: "34A2", body: typename, headers: []string{acceptGraphQL}, status: ok},
		{id: "13EE", body: typename, headers: []string{acceptJSON}, status: ok, clean: true},
		{id: "8161", body: withParameter("operationName", `"Query"`), headers: []string{acceptGraphQL}, status: ok},
		{id: "B8B3", body: withParameter("operationName", `"Query"`), headers: []string{acceptJSON}, status: ok, clean: true},
		{id: "2EA1", body: byNameBody, headers: []string{acceptGraphQL}, status: ok},
		{id: "28B9", body: byNameBody, headers: []string{acceptJSON}, status: ok, clean: true},
		{id: "D6D5", get: byNameURL, headers: []string{acceptGraphQL}, status: ok, clean: true},
		{id: "6A70", get: byNameURL, headers: []string{acceptJSON}, status: ok, clean: true},
		{id: "428F", body: withParameter("extensions", `{"some":"value"}`), headers: []string{acceptGraphQL}, status: ok},
		{id: "1B7A", body: withParameter("extensions", `{"some":"value"}`), headers: []string{acceptJSON}, status: ok, clean: true},
		{id: "B6DC", body: `{ "not a JSON`, headers: []string{acceptJSON}, status: [2]int{200, 599}},
		{id: "BCF8", body: `{ "not a JSON`, headers: []string{acceptJSON}, status: bad},
		{id: "B7N8", body: `{ "not a JSON`, headers: []string{acceptGraphQL}, status: bad},
		{id: "8764", body: `{"qeury":"{ __typename }"}`, status: [2]int{400, 599}},
		{id: "3E3A", body: `{"qeury":"{ __typename }"}`, status: bad},
		{id: "572B", body: `{"query":"{"}`, headers: []string{acceptJSON}, status: ok},
		{id: "FDE2", body: unknownField, headers: []string{acceptJSON}, status: ok},
		{id: "7B9B", body: coercion, headers: []string{acceptJSON}, status: ok},
		{id: "865D", body: `{"query":"{"}`, headers: []string{acceptGraphQL}, status: [2]int{400, 599}},
		{id: "556A", body: `{"query":"{"}`, headers: []string{acceptGraphQL}, status: bad},
		{id: "D586", body: `{"query":"{"}`, headers: []string{acceptGraphQL}, status: bad, noData: true},
		{id: "51FE", body: unknownField, headers: []string{acceptGraphQL}, status: [2]int{400, 599}},
		{id: "74FF", body: unknownField, headers: []string{acceptGraphQL}, status: bad},
		{id: "5E5B", body: unknownField, headers: []string{acceptGraphQL}, status: bad, noData: true},
		{id: "86EE", body: coercion, headers: []string{acceptGraphQL}, status: bad},
	}
	return append(append(list, wrongParameters()...), nullParameters()...)
}

// wrongParameters are the four kinds of value that each parameter is not.
func wrongParameters() []audit {
	notString := []string{`{"an":"object"}`, `0`, `false`, `["array"]`}
	notObject := []string{`"string"`, `0`, `false`, `["array"]`}
	var list []audit
	for i := range 4 {
		n := string(rune('0' + i))
		bad := status(http.StatusBadRequest)
		list = append(list,
			audit{id: "LKJ" + n, body: `{"query":` + notString[i] + `}`, status: bad},
			audit{id: "6C0" + n, body: withParameter("operationName", notString[i]), status: bad},
			audit{id: "476" + n, body: withParameter("variables", notObject[i]), status: bad},
			audit{id: "58B" + n, body: withParameter("extensions", notObject[i]), status: bad},
		)
	}
	return list
}

func nullParameters() []audit {
	var list []audit
	for i, name := range []string{"variables", "operationName", "extensions"} {
		n := string(rune('0' + i))
		body := withParameter(name, "null")
		list = append(list,
			audit{id: "94B" + n, body: body, headers: []string{acceptGraphQL}, status: status(http.StatusOK), clean: true},
			audit{id: "022" + n, body: body, headers: []string{acceptJSON}, status: status(http.StatusOK), clean: true},
		)
	}
	return list
}

func TestGraphQLOverHTTP_audits(t *testing.T) {
	t.Parallel()
	if got := len(audits()); got != 61 {
		t.Fatalf("%d audits, want 61", got)
	}
	b := setup(t)
	for _, a := range audits() {
		t.Run(a.id, func(t *testing.T) {
			method, path := http.MethodPost, "/graphql"
			if a.get != nil {
				method, path = http.MethodGet, "/graphql?"+a.get.Encode()
			}
			r := b.do(t, method, path, a.body, a.headers...)
			if r.StatusCode < a.status[0] || r.StatusCode > a.status[1] {
				t.Errorf("status = %d, want %d to %d: %s", r.StatusCode, a.status[0], a.status[1], r.body)
			}
			if got := r.Header.Get("Content-Type"); !strings.Contains(got, a.media) || !strings.HasSuffix(got, "; charset=utf-8") {
				t.Errorf("Content-Type = %q, want %q in UTF-8", got, a.media)
			}
			if !utf8.ValidString(r.body) {
				t.Error("body is not UTF-8")
			}
			if a.clean && len(r.json.Errors) > 0 {
				t.Errorf("errors = %s", r.body)
			}
			var members map[string]json.RawMessage
			if err := json.Unmarshal([]byte(r.body), &members); err != nil {
				t.Fatal(err)
			}
			if _, has := members["data"]; has && a.noData {
				t.Errorf("answer has data: %s", r.body)
			}
		})
	}
}
