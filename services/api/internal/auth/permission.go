package auth

import (
	"slices"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Permission is one thing that a principal may do, spelt as in the GraphQL schema.
type Permission string

// The permissions.
const (
	Read     Permission = "WEBHOOK_READ"
	Create   Permission = "WEBHOOK_CREATE"
	Update   Permission = "WEBHOOK_UPDATE"
	Delete   Permission = "WEBHOOK_DELETE"
	Test     Permission = "WEBHOOK_TEST"
	Dispatch Permission = "EVENT_DISPATCH"
)

// permissionsOf is the table of roles and permissions: all of them that there
// is. The order is the schema's.
func permissionsOf(role token.Role) []Permission {
	switch role {
	case token.Admin:
		return []Permission{Read, Create, Update, Delete, Test, Dispatch}
	case token.Manager:
		return []Permission{Read, Create, Update, Test}
	case token.SalesRep, token.ReadOnly:
		return []Permission{Read}
	case token.Service:
		return []Permission{Dispatch}
	default:
		return nil
	}
}

// Principal is who asks: the facts of a token that was verified.
type Principal struct {
	Subject string
	Tenant  webhook.TenantID
	Role    token.Role
	// Permissions is the role's, narrowed by the token.
	Permissions []Permission
}

// May reports whether the principal has a permission.
func (p Principal) May(permission Permission) bool {
	return slices.Contains(p.Permissions, permission)
}

// narrow keeps what both the role and the claim have. A claim that is absent
// narrows nothing; names that are no permissions grant nothing.
func narrow(granted []Permission, claim []string) []Permission {
	if claim == nil {
		return granted
	}
	return slices.DeleteFunc(granted, func(p Permission) bool { return !slices.Contains(claim, string(p)) })
}
