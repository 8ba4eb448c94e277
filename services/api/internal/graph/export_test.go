package graph

import (
	"context"

	"github.com/graph-gophers/graphql-go"
)

// MaxAnswerBytes is for tests.
const MaxAnswerBytes = maxAnswerBytes

// Counted executes a document and returns what its answer has counted for.
func (s *Schema) Counted(ctx context.Context, document string) (*graphql.Response, int64) {
	r := &request{}
	resp := s.exec(ctx, r, document, "", nil)
	return resp, r.budget.written.Load()
}
