package graph_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/graph-gophers/graphql-go"
	"github.com/graph-gophers/graphql-go/ast"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/schema"
)

// TestContract_schemaIsASuperset keeps clients working: the schema may add types,
// fields, enum values and optional inputs to the contract, and nothing else.
func TestContract_schemaIsASuperset(t *testing.T) {
	t.Parallel()
	sdl, err := os.ReadFile("../../../../schema/testdata/contract.graphql")
	if err != nil {
		t.Fatal(err)
	}
	for _, breach := range breaches(facts(parse(t, string(sdl))), facts(parse(t, schema.GraphQL()))) {
		t.Error(breach)
	}
}

func TestContract_breachesAreSeen(t *testing.T) {
	t.Parallel()
	const contract = `type Query { a(x: Int): Int! b: E } enum E { ONE TWO } input I { p: Int }`
	for name, tc := range map[string]struct {
		sdl  string
		want string
	}{
		"the same":                {contract, ""},
		"field added":             {`type Query { a(x: Int): Int! b: E c: Int } enum E { ONE TWO } input I { p: Int }`, ""},
		"enum value added":        {`type Query { a(x: Int): Int! b: E } enum E { ONE TWO THREE } input I { p: Int }`, ""},
		"type added":              {contract + ` type Other { a: Int! }`, ""},
		"optional input added":    {`type Query { a(x: Int, y: Int): Int! b: E } enum E { ONE TWO } input I { p: Int q: Int r: Int! = 1 }`, ""},
		"field missing":           {`type Query { a(x: Int): Int! } enum E { ONE TWO } input I { p: Int }`, "Query.b is missing"},
		"nullability changed":     {`type Query { a(x: Int): Int b: E } enum E { ONE TWO } input I { p: Int }`, "Query.a is Int, want Int!"},
		"argument missing":        {`type Query { a: Int! b: E } enum E { ONE TWO } input I { p: Int }`, "Query.a(x) is missing"},
		"argument made required":  {`type Query { a(x: Int!): Int! b: E } enum E { ONE TWO } input I { p: Int }`, "Query.a(x) is Int!, want Int"},
		"required argument added": {`type Query { a(x: Int, y: Int!): Int! b: E } enum E { ONE TWO } input I { p: Int }`, "Query.a(y) is added and required"},
		"required input added":    {`type Query { a(x: Int): Int! b: E } enum E { ONE TWO } input I { p: Int q: Int! }`, "I.q is added and required"},
		"enum value missing":      {`type Query { a(x: Int): Int! b: E } enum E { ONE } input I { p: Int }`, "E.TWO is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(breaches(facts(parse(t, contract)), facts(parse(t, tc.sdl))), "; ")
			if got != tc.want {
				t.Errorf("breaches = %q, want %q", got, tc.want)
			}
		})
	}
}

func TestSchema_everythingIsDescribed(t *testing.T) {
	t.Parallel()
	for path, f := range facts(parse(t, schema.GraphQL())) {
		if f.description == "" {
			t.Errorf("%s has no description", path)
		}
	}
}

// TestSchema_namesTheCatalogue holds the two lists of built-in events together.
func TestSchema_namesTheCatalogue(t *testing.T) {
	t.Parallel()
	all := facts(parse(t, schema.GraphQL()))
	for _, entry := range webhook.Catalogue() {
		value, ok := all["WebhookEvent."+entry.Enum]
		if !ok {
			t.Errorf("WebhookEvent lacks %s", entry.Enum)
			continue
		}
		if value.description != entry.Description {
			t.Errorf("%s: the schema says %q, the catalogue %q", entry.Enum, value.description, entry.Description)
		}
		if _, ok := all["CrmObject."+strings.ToUpper(entry.Object)]; !ok {
			t.Errorf("CrmObject lacks %s of %s", entry.Object, entry.Enum)
		}
	}
	for path := range all {
		if name, ok := strings.CutPrefix(path, "WebhookEvent."); ok {
			if _, known := webhook.LookupEnum(name); !known {
				t.Errorf("the catalogue lacks %s", name)
			}
		}
	}
}

// fact is what a client can rely on about one element of a schema.
type fact struct {
	is          string // type of a field or input, kind of a type
	parent      string // the type, field or input object that it belongs to
	required    bool   // an input that must be given
	description string
}

func parse(t *testing.T, sdl string) *ast.Schema {
	t.Helper()
	s, err := graphql.ParseSchema(sdl, nil, graphql.UseStringDescriptions())
	if err != nil {
		t.Fatalf("parsing SDL: %v", err)
	}
	return s.AST()
}

// facts lists a schema by path: Type, Type.field, Type.field(argument), Enum.VALUE.
func facts(s *ast.Schema) map[string]fact {
	out := map[string]fact{}
	for name, typ := range s.Types {
		if strings.HasPrefix(name, "__") || slices.Contains([]string{"Int", "Float", "String", "Boolean", "ID"}, name) {
			continue
		}
		out[name] = fact{is: typ.Kind(), description: typ.Description()}
		switch typ := typ.(type) {
		case *ast.ObjectTypeDefinition:
			for _, field := range typ.Fields {
				path := name + "." + field.Name
				out[path] = fact{is: field.Type.String(), parent: name, description: field.Desc}
				for _, arg := range field.Arguments {
					out[path+"("+arg.Name.Name+")"] = input(path, arg)
				}
			}
		case *ast.InputObject:
			for _, value := range typ.Values {
				out[name+"."+value.Name.Name] = input(name, value)
			}
		case *ast.EnumTypeDefinition:
			for _, value := range typ.EnumValuesDefinition {
				out[name+"."+value.EnumValue] = fact{is: "value", parent: name, description: value.Desc}
			}
		}
	}
	return out
}

func input(parent string, v *ast.InputValueDefinition) fact {
	_, nonNull := v.Type.(*ast.NonNull)
	return fact{is: v.Type.String(), parent: parent, required: nonNull && v.Default == nil, description: v.Desc}
}

func breaches(contract, actual map[string]fact) []string {
	var out []string
	for path, want := range contract {
		got, ok := actual[path]
		switch {
		case !ok:
			out = append(out, path+" is missing")
		case got.is != want.is:
			out = append(out, path+" is "+got.is+", want "+want.is)
		}
	}
	for path, got := range actual {
		_, agreed := contract[path]
		_, parentAgreed := contract[got.parent]
		if !agreed && parentAgreed && got.required {
			out = append(out, path+" is added and required")
		}
	}
	slices.Sort(out)
	return out
}
