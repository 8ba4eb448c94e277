package graph

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
)

// viewer is the type Viewer.
type viewer struct {
	budget    *budget
	principal auth.Principal

	Role string
}

// Subject answers whom the token is about.
func (v viewer) Subject() string { return v.budget.text(v.principal.Subject) }

// TenantID answers whose data the token opens.
func (v viewer) TenantID() identifier { return identifier(v.budget.text(string(v.principal.Tenant))) }

// Permissions answers what the token permits.
func (v viewer) Permissions() []string {
	permissions := make([]string, len(v.principal.Permissions))
	for i, p := range v.principal.Permissions {
		permissions[i] = string(p)
	}
	return v.budget.texts(permissions)
}

// Viewer answers who asks.
func (q *query) Viewer(ctx context.Context) (viewer, error) {
	principal, err := enter(ctx, opViewer)
	if err != nil {
		return viewer{}, err
	}
	return viewer{budget: budgetOf(ctx), principal: principal, Role: string(principal.Role)}, nil
}
