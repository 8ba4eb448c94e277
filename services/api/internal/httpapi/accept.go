package httpapi

import (
	"mime"
	"strconv"
	"strings"
)

const (
	mediaTypeJSON    = "application/json"
	mediaTypeGraphQL = "application/graphql-response+json"
)

// negotiate picks the answer's media type. The GraphQL one is for callers who
// ask for it by name: to them a status says how the request went, to others 200
// says that there is an answer. False means that the caller wants neither.
func negotiate(accept []string) (string, bool) {
	if len(accept) == 0 {
		return mediaTypeJSON, true
	}
	named := map[string]float64{}
	wildcard := 0.0
	for part := range strings.SplitSeq(strings.Join(accept, ","), ",") {
		mediaType, attributes, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		quality := 1.0
		if q, given := attributes["q"]; given {
			quality, _ = strconv.ParseFloat(q, 64)
		}
		switch mediaType {
		case mediaTypeJSON, mediaTypeGraphQL:
			named[mediaType] = quality
		case "*/*", "application/*":
			wildcard = max(wildcard, quality)
		}
	}
	plain, isNamed := named[mediaTypeJSON]
	if !isNamed {
		plain = wildcard
	}
	special := named[mediaTypeGraphQL]
	switch {
	case special > 0 && special >= plain:
		return mediaTypeGraphQL, true
	case plain > 0:
		return mediaTypeJSON, true
	default:
		return "", false
	}
}
