package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

const (
	maxBodyBytes = 1 << 20
	// largeBodyBytes is what no request of a person exceeds.
	largeBodyBytes = 64 << 10
)

// params are the parameters of a GraphQL over HTTP request.
type params struct {
	query         string
	operationName string
	variables     map[string]any // of json.RawMessage
}

func readParams(r *http.Request) (params, *answer) {
	if r.Method == http.MethodGet {
		return readURL(r.URL.RawQuery)
	}
	return readBody(r)
}

// readBody insists on application/json: a browser sends that across origins
// only after asking, and this service never says yes.
func readBody(r *http.Request) (params, *answer) {
	if !isJSON(r.Header) {
		return badRequest(http.StatusUnsupportedMediaType, "Content-Type must be application/json in UTF-8, without Content-Encoding")
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		a := refuse(http.StatusRequestEntityTooLarge, protocol.CodeLimitExceeded, "body must have at most 1 MiB")
		a.header.Set("Connection", "close") // the rest of it is not worth reading
		return params{}, &a
	case err != nil:
		return badRequest(http.StatusBadRequest, "body must be sent in full and in time")
	case !utf8.Valid(body):
		return badRequest(http.StatusBadRequest, "body must be UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return badRequest(http.StatusBadRequest, "body must be one JSON object with the member query")
	}
	return parseParams(members)
}

func isJSON(h http.Header) bool {
	types := h.Values("Content-Type")
	if len(types) != 1 {
		return false
	}
	mediaType, attributes, err := mime.ParseMediaType(types[0])
	if err != nil || mediaType != mediaTypeJSON {
		return false
	}
	charset, given := attributes["charset"]
	encoding := h.Get("Content-Encoding")
	return (!given || strings.EqualFold(charset, "utf-8")) && (encoding == "" || strings.EqualFold(encoding, "identity"))
}

// readURL makes of the URL's parameters what a body would have said. Variables
// and extensions are JSON in both, the other two are plain text in a URL.
func readURL(raw string) (params, *answer) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return badRequest(http.StatusBadRequest, "URL parameters must be well-formed")
	}
	members := map[string]json.RawMessage{}
	for _, name := range []string{"query", "operationName", "variables", "extensions"} {
		given := values[name]
		switch {
		case len(given) > 1:
			return badRequest(http.StatusBadRequest, name+" must be given once")
		case len(given) == 0 || given[0] == "":
			continue
		case !utf8.ValidString(given[0]):
			return badRequest(http.StatusBadRequest, name+" must be UTF-8")
		case name == "query" || name == "operationName":
			members[name], _ = json.Marshal(given[0]) // a string always can be
		case !json.Valid([]byte(given[0])):
			return badRequest(http.StatusBadRequest, name+" must be a JSON object")
		default:
			members[name] = json.RawMessage(given[0])
		}
	}
	return parseParams(members)
}

// parseParams takes names as they are spelt and ignores those it does not know,
// as the specification has it. null is as good as absent, but for query.
func parseParams(members map[string]json.RawMessage) (params, *answer) {
	var p params
	var query *string
	if json.Unmarshal(orNull(members["query"]), &query) != nil || query == nil {
		return badRequest(http.StatusBadRequest, "query must be a string")
	}
	p.query = *query
	if json.Unmarshal(orNull(members["operationName"]), &p.operationName) != nil {
		return badRequest(http.StatusBadRequest, "operationName must be a string")
	}
	var variables, extensions map[string]json.RawMessage
	if json.Unmarshal(orNull(members["variables"]), &variables) != nil {
		return badRequest(http.StatusBadRequest, "variables must be an object")
	}
	if json.Unmarshal(orNull(members["extensions"]), &extensions) != nil {
		return badRequest(http.StatusBadRequest, "extensions must be an object")
	}
	p.variables = make(map[string]any, len(variables))
	for name, value := range variables {
		p.variables[name] = value
	}
	return p, nil
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func badRequest(status int, rule string) (params, *answer) {
	a := refuse(status, protocol.CodeBadUserInput, rule)
	return params{}, &a
}
