package graph

import (
	"strings"
	"testing"
)

// FuzzExactNumbers: a document without literals of JSON stays as it is, and what
// is added to one is bounded: the library's limit on length counts it.
func FuzzExactNumbers(f *testing.F) {
	for _, seed := range []string{
		``, `{`, `"`, `"""`, `"\`, `{ a(object: {b: 1.10, c: [-0, 2]}) }`, `{ object: f(first: 1.10) { previous } }`,
		`{ a(object: 1.10) }`, `{ a(x: {object: [1.1]}, y: 1.1) }`, `#` + "\r" + `{ a(previous: [1.1]) }`, `(object:[` + strings.Repeat("-0,", 100),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document string) {
		got := exactNumbers(document)
		if len(got) > 8*len(document) {
			t.Errorf("%d bytes became %d", len(document), len(got))
		}
		marked := strings.Contains(got, numberMarkGQL) && !strings.Contains(document, numberMarkGQL)
		if marked != (got != document) {
			t.Errorf("%q became %q", document, got)
		}
		unmarked := strings.NewReplacer(`"`+numberMarkGQL, "", `"`, "").Replace(got)
		if plain := strings.ReplaceAll(document, `"`, ""); unmarked != plain && !strings.Contains(document, numberMarkGQL) {
			t.Errorf("%q lost something: %q", document, got)
		}
	})
}

func TestExactNumbers_leavesOthersAlone(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		`{ object: webhooks(first: 1.10) { nodes { id } } }`,
		`mutation { a(input: {objectId: "1.10", x: [1.10], object: $o, y: 2.50}) }`,
		`mutation { a(input: {object: {b: "1.10 {", c: """ 2.50 """ # 3.50` + "\n" + `, d: 4}}, z: 5.50) }`,
		`{ a(name: "object") { previous { b(x: 1.10) } } }`,
	} {
		if got := exactNumbers(document); got != document {
			t.Errorf("%s became %s", document, got)
		}
	}
}
