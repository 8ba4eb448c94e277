// Package token is the bearer token that the api trusts: its claims, its roles,
// and how to make one where the signing secret is known.
//
// Making tokens is for development, tests and operators; in production an
// identity provider does it. Verifying is the api's business alone.
package token

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Role is what a token's bearer does in the CRM.
type Role string

// The roles.
const (
	Admin    Role = "ADMIN"
	Manager  Role = "MANAGER"
	SalesRep Role = "SALES_REP"
	ReadOnly Role = "READ_ONLY"
	Service  Role = "SERVICE"
)

// Roles returns all roles, the mightiest first.
func Roles() []Role { return []Role{Admin, Manager, SalesRep, ReadOnly, Service} }

// ParseRole accepts the exact name of a role.
func ParseRole(s string) (Role, error) {
	var names []string
	for _, r := range Roles() {
		if s == string(r) {
			return r, nil
		}
		names = append(names, string(r))
	}
	return "", errors.New("role must be one of " + strings.Join(names, ", "))
}

// Claims is the payload of a token, as it travels: verifying parses it.
type Claims struct {
	jwt.RegisteredClaims
	TenantID string `json:"tenant_id"`
	Role     string `json:"role"`
	// Permissions narrows the role when it is not nil; an empty list leaves nothing.
	Permissions []string `json:"permissions,omitzero"`
}

// MinSecretBytes is the least that an HS256 secret must have (RFC 7518, 3.2).
const MinSecretBytes = 32

// Mint signs claims with HS256, valid from now for ttl.
func Mint(secret []byte, claims Claims, now time.Time, ttl time.Duration) (string, error) {
	if len(secret) < MinSecretBytes {
		return "", fmt.Errorf("signing a token: the secret must have at least %d bytes", MinSecretBytes)
	}
	claims.IssuedAt = jwt.NewNumericDate(now)
	claims.ExpiresAt = jwt.NewNumericDate(now.Add(ttl))
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}
