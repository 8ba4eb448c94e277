package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"strings"
)

const (
	ruleNotJWT    = "token must be a JWT with tenant_id, role, sub and exp of the right types"
	ruleAmbiguous = "token must have each header parameter and claim once"
	ruleCritical  = "token must not have the header parameter crit"
)

var errAmbiguous = errors.New("a name is repeated")

// checkNames refuses a token that two readers could understand in two ways. Go
// takes the last of several members of one name, and does not care for the case
// of names: whoever issues tokens may see another tenant_id, or alg, than we do.
// Extensions that must be understood (RFC 7515, 4.1.11) are not: there are none
// that we know.
//
// What is malformed otherwise is left for the parser to refuse.
func checkNames(compact string) *Error {
	header, rest, _ := strings.Cut(compact, ".")
	payload, _, _ := strings.Cut(rest, ".")
	for i, segment := range []string{header, payload} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(segment)
		if err != nil {
			return &Error{Rule: ruleNotJWT, Cause: err}
		}
		names, err := memberNames(raw)
		switch {
		case errors.Is(err, errAmbiguous):
			return &Error{Rule: ruleAmbiguous, Cause: err}
		case err != nil:
			return &Error{Rule: ruleNotJWT, Cause: err}
		case i == 0 && names["crit"]:
			return &Error{Rule: ruleCritical}
		}
	}
	return nil
}

// memberNames returns the names of an object's members in lower case.
func memberNames(raw []byte) (map[string]bool, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.Join(errors.New("not an object"), err)
	}
	names := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string) // the decoder lets nothing else stand here
		name = folded(name)
		if names[name] {
			return nil, errAmbiguous
		}
		names[name] = true
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return names, nil
}

// folded makes names equal that encoding/json takes for equal: it knows, beside
// the case of letters, that U+017F is an s and U+212A a k.
func folded(name string) string { return strings.ToLower(strings.ToUpper(name)) }
