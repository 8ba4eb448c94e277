package httpapi

import (
	"errors"
	"fmt"
	"strings"

	gqlerrors "github.com/graph-gophers/graphql-go/errors"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

// maxAliases bounds how often a document asks for the same thing.
const maxAliases = 50

// The kinds of operation, as metrics and logs name them.
const (
	kindQuery    = "query"
	kindMutation = "mutation"
)

// operation is what has to be known of a document before it is executed.
type operation struct {
	name string // empty for an anonymous one
	kind string
	// dispatches counts the root fields that accept events; others tells whether
	// there is anything else.
	dispatches int
	others     bool
}

func (o operation) onlyDispatches() bool { return o.dispatches > 0 && !o.others }

// inspect parses a document to find the operation that will run. The executor
// parses again, for itself; it has no way to say what a document is about.
func inspect(query, operationName string) (operation, *gqlerrors.QueryError) {
	if len(query) > protocol.MaxDocumentBytes {
		return operation{}, limitExceeded("query must have at most %d bytes", protocol.MaxDocumentBytes)
	}
	if ambiguous(query) {
		return operation{}, invalid(`query must not have more than three quotes in a row, nor \"""; pass such texts as variables`)
	}
	document, err := parser.ParseQuery(&ast.Source{Input: query})
	if err != nil {
		return operation{}, syntaxError(err)
	}
	if problem := checkSize(document); problem != nil {
		return operation{}, problem
	}
	var chosen *ast.OperationDefinition
	switch {
	case operationName != "":
		chosen = document.Operations.ForName(operationName)
	case len(document.Operations) == 1:
		chosen = document.Operations[0]
	}
	switch {
	case chosen == nil:
		return operation{}, invalid("operationName must name one of the query's operations")
	case chosen.Operation == ast.Subscription:
		return operation{}, invalid("subscriptions are not offered")
	}
	o := operation{name: chosen.Name, kind: string(chosen.Operation)}
	o.count(document, chosen.SelectionSet, map[string]bool{})
	return o, nil
}

// ambiguous reports whether a document has block strings that end at one place for
// this parser and at another one for the executor's, which would then execute what
// nobody has counted.
func ambiguous(query string) bool {
	return strings.Contains(query, `""""`) || strings.Contains(query, `\"""`)
}

// count looks through fragments, at each once: what they repeat is merged.
func (o *operation) count(document *ast.QueryDocument, selections ast.SelectionSet, seen map[string]bool) {
	for _, selection := range selections {
		switch selection := selection.(type) {
		case *ast.Field:
			if protocol.Dispatches(selection.Name) {
				o.dispatches++
			} else {
				o.others = true
			}
		case *ast.InlineFragment:
			o.count(document, selection.SelectionSet, seen)
		case *ast.FragmentSpread:
			fragment := document.Fragments.ForName(selection.Name)
			if fragment != nil && !seen[selection.Name] {
				seen[selection.Name] = true
				o.count(document, fragment.SelectionSet, seen)
			}
		}
	}
}

func checkSize(document *ast.QueryDocument) *gqlerrors.QueryError {
	var size documentSize
	for _, o := range document.Operations {
		size.add(o.SelectionSet)
	}
	for _, f := range document.Fragments {
		size.add(f.SelectionSet)
	}
	switch {
	case size.aliases > maxAliases:
		return limitExceeded("query must have at most %d aliases", maxAliases)
	case size.selections > protocol.MaxSelections:
		return limitExceeded("query must have at most %d selections", protocol.MaxSelections)
	}
	return nil
}

type documentSize struct{ selections, aliases int }

func (s *documentSize) add(selections ast.SelectionSet) {
	s.selections += len(selections)
	for _, selection := range selections {
		switch selection := selection.(type) {
		case *ast.Field:
			if selection.Alias != selection.Name {
				s.aliases++
			}
			s.add(selection.SelectionSet)
		case *ast.InlineFragment:
			s.add(selection.SelectionSet)
		}
	}
}

func syntaxError(err error) *gqlerrors.QueryError {
	out := invalid("query must be well-formed")
	var fault *gqlerror.Error
	if !errors.As(err, &fault) {
		return out
	}
	out.Message = protocol.Shortened("query must be well-formed: " + fault.Message)
	for _, l := range fault.Locations {
		out.Locations = append(out.Locations, gqlerrors.Location{Line: l.Line, Column: l.Column})
	}
	return out
}

func limitExceeded(rule string, limit int) *gqlerrors.QueryError {
	return coded(protocol.CodeLimitExceeded, fmt.Sprintf(rule, limit))
}

func invalid(rule string) *gqlerrors.QueryError { return coded(protocol.CodeBadUserInput, rule) }

func coded(code, message string) *gqlerrors.QueryError {
	return &gqlerrors.QueryError{Message: message, Extensions: map[string]any{"code": code}}
}
