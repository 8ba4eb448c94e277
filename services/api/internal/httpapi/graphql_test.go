package httpapi_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
)

func TestGraphQL_unauthenticated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, tc := range map[string]struct{ authorization, message string }{
		"no token":   {"", "Authorization header must be given, once: Bearer <token>"},
		"not bearer": {"Basic dTpw", "Authorization header must be Bearer <token>"},
		"bad token":  {"Bearer x.y.z", "token must be a JWT with tenant_id, role, sub and exp of the right types"},
	} {
		for _, media := range []string{"application/json", "application/graphql-response+json"} {
			// The body would be refused, too: nobody looks at it.
			r := b.do(t, http.MethodPost, "/graphql", "{", "Authorization: "+tc.authorization, "Accept: "+media)
			if r.StatusCode != http.StatusUnauthorized || r.code() != "UNAUTHENTICATED" || r.message() != tc.message {
				t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
			}
			if len(r.json.Data) > 0 || r.Header.Get("WWW-Authenticate") == "" || !strings.HasPrefix(r.Header.Get("Content-Type"), media+";") {
				t.Errorf("%s: header %v, body %s", name, r.Header, r.body)
			}
		}
	}
}

func TestGraphQL_passesPrincipalAndVariables(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.do(t, http.MethodPost, "/graphql", `{"query":"query Q($t: String!) { tenant echo(text: $t) }","operationName":"Q","variables":{"t":"<&> \u2028"}}`)
	var data struct{ Tenant, Echo string }
	if err := json.Unmarshal(r.json.Data, &data); err != nil || data.Tenant != "acme" || data.Echo != "<&> \u2028" {
		t.Errorf("answer = %s (%v)", r.body, err)
	}
}

func TestGraphQL_refusals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	big := strings.Repeat("x", 1<<20)
	for name, tc := range map[string]struct {
		method, path, body string
		header             string
		status             int
		code               string
	}{
		"PUT":                    {"PUT", "/graphql", typename, "", 405, "BAD_USER_INPUT"},
		"OPTIONS":                {"OPTIONS", "/graphql", "", "", 405, "BAD_USER_INPUT"},
		"HEAD":                   {"HEAD", "/graphql?query=%7B__typename%7D", "", "", 405, ""},
		"nothing acceptable":     {"POST", "/graphql", typename, "Accept: text/html", 406, "BAD_USER_INPUT"},
		"no content type":        {"POST", "/graphql", typename, "Content-Type:", 415, "BAD_USER_INPUT"},
		"form":                   {"POST", "/graphql", "query=%7B__typename%7D", "Content-Type: application/x-www-form-urlencoded", 415, "BAD_USER_INPUT"},
		"text":                   {"POST", "/graphql", typename, "Content-Type: text/plain", 415, "BAD_USER_INPUT"},
		"multipart":              {"POST", "/graphql", typename, "Content-Type: multipart/form-data; boundary=x", 415, "BAD_USER_INPUT"},
		"JSON in a guise":        {"POST", "/graphql", typename, "Content-Type: text/plain; application/json", 415, "BAD_USER_INPUT"},
		"another charset":        {"POST", "/graphql", typename, "Content-Type: application/json; charset=utf-16", 415, "BAD_USER_INPUT"},
		"compressed":             {"POST", "/graphql", typename, "Content-Encoding: gzip", 415, "BAD_USER_INPUT"},
		"1 MiB and a bit":        {"POST", "/graphql", `{"query":"` + big + `"}`, "", 413, "LIMIT_EXCEEDED"},
		"not UTF-8":              {"POST", "/graphql", "{\"query\":\"{ __typename } # \xff\"}", "", 400, "BAD_USER_INPUT"},
		"a batch":                {"POST", "/graphql", "[" + typename + "]", "", 400, "BAD_USER_INPUT"},
		"null":                   {"POST", "/graphql", "null", "", 400, "BAD_USER_INPUT"},
		"two values":             {"POST", "/graphql", typename + typename, "", 400, "BAD_USER_INPUT"},
		"name in capitals":       {"POST", "/graphql", `{"QUERY":"{ __typename }"}`, "", 400, "BAD_USER_INPUT"},
		"GET without query":      {"GET", "/graphql", "", "", 400, "BAD_USER_INPUT"},
		"GET with two queries":   {"GET", "/graphql?query=%7Ba%7D&query=%7Bb%7D", "", "", 400, "BAD_USER_INPUT"},
		"GET, bad escape":        {"GET", "/graphql?query=%zz", "", "", 400, "BAD_USER_INPUT"},
		"GET, bad variables":     {"GET", "/graphql?query=%7B__typename%7D&variables=x", "", "", 400, "BAD_USER_INPUT"},
		"GET, variables no map":  {"GET", "/graphql?query=%7B__typename%7D&variables=%5B%5D", "", "", 400, "BAD_USER_INPUT"},
		"GET, mutation":          {"GET", "/graphql?query=mutation%7Bcount%7D", "", "", 405, "BAD_USER_INPUT"},
		"GET, mutation by name":  {"GET", "/graphql?operationName=M&query=" + url.QueryEscape("query Q { tenant } mutation M { count }"), "", "", 405, "BAD_USER_INPUT"},
		"GET, mutation, decoys":  {"GET", "/graphql?query=" + url.QueryEscape("#query {\n\"\"\" query \"\"\" mutation M { count }"), "", "", 405, "BAD_USER_INPUT"},
		"GET, ambiguous":         {"GET", "/graphql?query=" + url.QueryEscape("query Q { tenant } mutation M { count }"), "", "Accept: application/graphql-response+json", 400, "BAD_USER_INPUT"},
		"GET, subscription":      {"GET", "/graphql?query=" + url.QueryEscape("subscription { ticks }"), "", "Accept: application/graphql-response+json", 400, "BAD_USER_INPUT"},
		"no such path":           {"GET", "/graphql/", "", "", 404, ""},
		"POST to the page":       {"POST", "/", "", "", 405, ""},
		"unknown operation name": {"POST", "/graphql", `{"query":"query Q { tenant }","operationName":"R"}`, "Accept: application/graphql-response+json", 400, "BAD_USER_INPUT"},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []string
			if tc.header != "" {
				headers = []string{tc.header}
			}
			r := b.do(t, tc.method, tc.path, tc.body, headers...)
			if r.StatusCode != tc.status || r.code() != tc.code {
				t.Errorf("status %d, code %q, want %d %q: %.300s", r.StatusCode, r.code(), tc.status, tc.code, r.body)
			}
			if tc.status == http.StatusMethodNotAllowed && r.Header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	if r := b.query(t, "mutation { count }"); string(r.json.Data) != `{"count":1}` {
		t.Errorf("a refused mutation was executed: %s", r.body)
	}
}

func TestGraphQL_negotiates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const plain, special = "application/json; charset=utf-8", "application/graphql-response+json; charset=utf-8"
	for accept, want := range map[string]string{
		"": plain, "*/*": plain, "application/*;q=0.1": plain,
		"application/graphql-response+json":                                 plain[:0] + special,
		"application/graphql-response+json; charset=utf-8":                  special,
		"application/graphql-response+json, application/json;q=0.9":         special,
		"application/json, application/graphql-response+json":               special,
		"application/json, application/graphql-response+json;q=0.5":         plain,
		"text/html, application/json, multipart/mixed":                      plain,
		"application/json;q=0, application/graphql-response+json":           special,
		"application/graphql-response+json;q=0, */*":                        plain,
		"application/graphql-response+json;q=0.2, */*;q=0.1, text/html;q=1": special,
	} {
		if r := b.query(t, "{ tenant }", "Accept: "+accept); r.Header.Get("Content-Type") != want || r.StatusCode != http.StatusOK {
			t.Errorf("Accept %q: %d %s, want %s", accept, r.StatusCode, r.Header.Get("Content-Type"), want)
		}
	}
}

func TestGraphQL_limits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var aliases strings.Builder
	for i := range 51 {
		aliases.WriteString(" a" + strings.Repeat("x", i) + ": tenant")
	}
	for name, tc := range map[string]struct{ query, code, message string }{
		"50 aliases":          {"{" + aliases.String()[:strings.LastIndex(aliases.String(), " a")] + "}", "", ""},
		"51 aliases":          {"{" + aliases.String() + "}", "LIMIT_EXCEEDED", "query must have at most 50 aliases"},
		"51 in a fragment":    {"{ ...F } fragment F on Query {" + aliases.String() + "}", "LIMIT_EXCEEDED", "query must have at most 50 aliases"},
		"2,001 selections":    {"{" + strings.Repeat(" tenant", 2001) + "}", "LIMIT_EXCEEDED", "query must have at most 2000 selections"},
		"16 KiB":              {"{ tenant } #" + strings.Repeat("x", 16<<10-12), "", ""},
		"16 KiB and one byte": {"{ tenant } #" + strings.Repeat("x", 16<<10-11), "LIMIT_EXCEEDED", "query must have at most 16384 bytes"},
		"nested to the end":   {strings.Repeat("{self", 3200) + strings.Repeat("}", 100), "BAD_USER_INPUT", "query must be well-formed: exceeded maximum nesting depth"},
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			r := b.query(t, tc.query)
			if r.code() != tc.code || !strings.HasPrefix(r.message(), tc.message) {
				t.Errorf("%s %q, want %s %q", r.code(), r.message(), tc.code, tc.message)
			}
			if took := time.Since(started); took > 2*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestGraphQL_syntaxErrorSaysWhere(t *testing.T) {
	t.Parallel()
	r := setup(t).query(t, "{\n  tenant(\n}")
	if r.code() != "BAD_USER_INPUT" || len(r.json.Errors[0].Locations) != 1 || r.json.Errors[0].Locations[0].Line != 3 {
		t.Errorf("answer = %s", r.body)
	}
}

func TestGraphQL_boundsErrorsAndMessages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.query(t, "{"+strings.Repeat(" nope", 1000)+"}")
	if n := len(r.json.Errors); n == 0 || n > 50 {
		t.Errorf("%d errors in the answer, want 1 to 50", n)
	}
	r = b.query(t, "{ "+strings.Repeat("n", 10_000)+" }")
	if n := len(r.message()); n == 0 || n > 600 || r.code() != "BAD_USER_INPUT" {
		t.Errorf("message of %d bytes, code %s", n, r.code())
	}
}

func TestGraphQL_deadlines(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for query, want := range map[string]time.Duration{
		"{ deadline }":          httpapi.DefaultQueryTimeout,
		"mutation { deadline }": httpapi.DefaultMutationTimeout,
	} {
		var data struct{ Deadline float64 }
		if err := json.Unmarshal(b.query(t, query).json.Data, &data); err != nil {
			t.Fatal(err)
		}
		if got := data.Deadline; got > want.Seconds() || got < want.Seconds()-2 {
			t.Errorf("%s: %.1f s left, want just under %s", query, got, want)
		}
	}
}

func TestGraphQL_deadlinePassed(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *httpapi.Config) { c.QueryTimeout = 20 * time.Millisecond })
	for accept, status := range map[string]int{acceptJSON: http.StatusOK, acceptGraphQL: http.StatusServiceUnavailable} {
		r := b.query(t, "{ wait }", accept)
		if r.StatusCode != status || r.code() != "UNAVAILABLE" || r.json.Errors[0].Extensions.RequestID == "" {
			t.Errorf("%s: %d %s", accept, r.StatusCode, r.body)
		}
	}
}

func TestGraphQL_statusOfWhatFailed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, tc := range []struct {
		query, data string
		status      int // under the GraphQL media type; 200 under the other one
	}{
		{"{ unavailable }", "null", http.StatusServiceUnavailable},
		{"{ tenant optional }", `{"tenant":"acme","optional":null}`, http.StatusOK},
		{"{ forbidden }", "null", http.StatusOK},
		{"{ unclassified }", "null", http.StatusInternalServerError},
		{"{ nowhere }", "", http.StatusBadRequest},
	} {
		for accept, status := range map[string]int{acceptJSON: http.StatusOK, acceptGraphQL: tc.status} {
			r := b.query(t, tc.query, accept)
			if r.StatusCode != status || len(r.json.Errors) != 1 || string(r.json.Data) != tc.data {
				t.Errorf("%s with %s: %d %s, want %d", tc.query, accept, r.StatusCode, r.body, status)
			}
			if got := r.Header.Get("Retry-After"); (got == "1") != (status == http.StatusServiceUnavailable) {
				t.Errorf("%s with %s: Retry-After = %q", tc.query, accept, got)
			}
		}
	}
}

func TestGraphQL_hidesWhatNobodyClassified(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, query := range []string{"{ unclassified }", "{ tenant secret }", "{ panics }", "query PanicOutside { tenant }"} {
		body := `{"query":"` + query + `"}`
		if strings.Contains(query, "Outside") {
			body = `{"query":"` + query + `","operationName":"PanicOutside"}`
		}
		r := b.do(t, http.MethodPost, "/graphql", body, "X-Request-Id: req-42")
		if strings.Contains(r.body, "hunter2") || r.code() != "INTERNAL" || r.message() != "internal error" || r.json.Errors[0].Extensions.RequestID != "req-42" {
			t.Errorf("%s: %s", query, r.body)
		}
	}
	if !strings.Contains(b.log.String(), "hunter2") || !strings.Contains(b.log.String(), `"request_id":"req-42"`) {
		t.Error("the cause is not in the log")
	}
}

func TestGraphQL_panicIsAnswered(t *testing.T) {
	t.Parallel()
	r := setup(t).do(t, http.MethodPost, "/graphql", `{"query":"query PanicOutside { tenant }","operationName":"PanicOutside"}`)
	if r.StatusCode != http.StatusInternalServerError || len(r.json.Data) > 0 {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

func TestGraphQL_keepsClassifiedErrors(t *testing.T) {
	t.Parallel()
	r := setup(t).query(t, "{ forbidden }", acceptGraphQL)
	if r.code() != "FORBIDDEN" || r.message() != "WEBHOOK_READ is needed" || r.StatusCode != http.StatusOK {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
}

func TestGraphQL_compressesLongAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	plain := b.query(t, "{ long }", "Accept-Encoding: identity")
	if plain.Header.Get("Content-Encoding") != "" || len(plain.body) < 30_000 {
		t.Fatalf("plain answer of %d bytes, header %v", len(plain.body), plain.Header)
	}
	packed := b.query(t, "{ long }", "Accept-Encoding: br, gzip;q=0.8")
	reader, err := gzip.NewReader(strings.NewReader(packed.body))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(reader)
	if err != nil || string(unpacked) != plain.body {
		t.Errorf("unpacked answer differs (%v)", err)
	}
	if short := b.query(t, "{ tenant }", "Accept-Encoding: gzip"); short.Header.Get("Content-Encoding") != "" {
		t.Error("a short answer was compressed")
	}
}
