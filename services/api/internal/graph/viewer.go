package graph

import "context"

// viewer is the type Viewer.
type viewer struct {
	Subject     string
	TenantID    identifier
	Role        string
	Permissions []string
}

// Viewer answers who asks.
func (q *query) Viewer(ctx context.Context) (viewer, error) {
	principal, err := enter(ctx, opViewer)
	if err != nil {
		return viewer{}, err
	}
	permissions := make([]string, len(principal.Permissions))
	for i, p := range principal.Permissions {
		permissions[i] = string(p)
	}
	return viewer{
		Subject:     principal.Subject,
		TenantID:    identifier(principal.Tenant),
		Role:        string(principal.Role),
		Permissions: permissions,
	}, nil
}
