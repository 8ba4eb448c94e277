package httpapi_test

import (
	"testing"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi/audits"
)

const (
	acceptJSON    = "Accept: application/json"
	acceptGraphQL = "Accept: application/graphql-response+json"
	typename      = `{"query":"{ __typename }"}`
)

func TestGraphQLOverHTTP_audits(t *testing.T) {
	t.Parallel()
	all := audits.All()
	if len(all) != 61 {
		t.Fatalf("%d audits, want 61", len(all))
	}
	b := setup(t)
	for _, a := range all {
		t.Run(a.ID, func(t *testing.T) {
			r, err := a.Request(t.Context(), b.URL+"/graphql")
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+b.token)
			response, err := b.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			if err := a.Check(response); err != nil {
				t.Error(err)
			}
		})
	}
}
