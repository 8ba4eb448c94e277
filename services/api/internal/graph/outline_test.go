package graph

import (
	"maps"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// FuzzOutline: what is read off the tokens of a document is what a parser finds,
// in documents that both understand alike.
func FuzzOutline(f *testing.F) {
	for _, seed := range []string{
		`{ viewer { role } }`, `query Q($a: JSON!, $b: [JSON], $c: Int = 1 @d(x: 1)) { long: f(a: {b: $a, c: "d: e"}) { g: h @include(if: $b) { __typename } } }`,
		`{ __schema { types { name } } }`, `{ a: __type(name: "Query") { b: name } }`, `{ f(a: "__schema", b: """ alias: __type """) } # c: __schema`,
		`query A($o: JSON) { a(o: $o) } mutation B($o: String, $p: JSON) { b(o: $o, p: $p) } fragment F on T { aliased: g }`,
		`{ a(x: JSON, y: {z: JSON}) }`, `query($__schema: JSON) { a }`, "{\ra#b: c\r d:\ne,f}", `{ a(s: "\"", t: "x") b: c }`, `query ($v: T = {a: JSON}) { b }`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document string) {
		if strings.Contains(document, `""""`) || strings.Contains(document, `\"""`) {
			return // the edge refuses it
		}
		parsed, err := parser.ParseQuery(&ast.Source{Input: document})
		if err != nil {
			return
		}
		var want outline
		longestName := 0
		look := func(selections ast.SelectionSet) { longestName = max(longestName, want.look(selections)) }
		for _, o := range parsed.Operations {
			for _, v := range o.VariableDefinitions {
				if v.Type.NamedType == "JSON" {
					if want.json == nil {
						want.json = map[string]bool{}
					}
					want.json[v.Variable] = true
				}
			}
			look(o.SelectionSet)
		}
		for _, fragment := range parsed.Fragments {
			look(fragment.SelectionSet)
		}
		got := outlineOf(document)
		// The parser does not tell the alias of "id: id".
		if got.longestAlias < want.longestAlias || got.longestAlias > max(want.longestAlias, longestName) || !maps.Equal(got.json, want.json) || want.introspects && !got.introspects {
			t.Errorf("%q: got %+v, want %+v", document, got, want)
		}
	})
}

// look also returns the length of the longest field's name.
func (o *outline) look(selections ast.SelectionSet) (longest int) {
	for _, selection := range selections {
		switch selection := selection.(type) {
		case *ast.Field:
			if selection.Alias != selection.Name {
				o.longestAlias = max(o.longestAlias, len(selection.Alias))
			}
			o.introspects = o.introspects || selection.Name == "__schema" || selection.Name == "__type"
			longest = max(longest, len(selection.Name), o.look(selection.SelectionSet))
		case *ast.InlineFragment:
			longest = max(longest, o.look(selection.SelectionSet))
		}
	}
	return longest
}
