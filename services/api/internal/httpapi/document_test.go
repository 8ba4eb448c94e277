package httpapi_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestDocument_whatIsCountedIsWhatIsExecuted: the executor ends a block string at
// the first three quotes, other parsers do not. What one takes for a text must not
// be fields to the other.
func TestDocument_whatIsCountedIsWhatIsExecuted(t *testing.T) {
	t.Parallel()
	var hidden strings.Builder
	for i := range 60 {
		fmt.Fprintf(&hidden, "a%d: tenant ", i)
	}
	b := setup(t)
	for name, query := range map[string]string{
		"escaped quotes": `{ echo(text: """a \""" ) ` + hidden.String() + `} # """) }`,
		"four quotes":    `{ echo(text: """a"""") }`,
		"six quotes":     `{ echo(text: """a"""` + `"""b""") }`,
	} {
		if r := b.query(t, query); r.code() != "BAD_USER_INPUT" || !strings.Contains(r.message(), "three quotes in a row") {
			t.Errorf("%s: %.300s", name, r.body)
		}
	}
	for _, query := range []string{`{ echo(text: """a "b" ""c"" """) }`, `{ echo(text: "a \" \\") }`, `{ echo(text: "") tenant }`} {
		if r := b.query(t, query); r.code() != "" {
			t.Errorf("%s: %s", query, r.body)
		}
	}
}
