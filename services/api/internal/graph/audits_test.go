package graph_test

import (
	"net/http/httptest"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi/audits"
)

// The edge passes them with a schema of its own; so does the service's, whose
// validation, limits and answers are others.
func TestTransport_audits(t *testing.T) {
	t.Parallel()
	handler := edge(t, &fake{})
	for _, a := range audits.All() {
		t.Run(a.ID, func(t *testing.T) {
			r, err := a.Request(t.Context(), "/graphql")
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if err := a.Check(w.Result()); err != nil {
				t.Error(err)
			}
		})
	}
}
