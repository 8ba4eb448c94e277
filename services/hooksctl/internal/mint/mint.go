// Package mint is `hooksctl token`: it makes tokens where the signing secret is
// known, which is in development and for operators.
package mint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// Command is the command line of `hooksctl token`.
type Command struct {
	Tenant      string        `required:"" help:"Tenant that the bearer belongs to."`
	Role        string        `default:"ADMIN" help:"ADMIN, MANAGER, SALES_REP, READ_ONLY or SERVICE."`
	Subject     string        `default:"hooksctl" help:"Who the bearer is: a user's or a service's id."`
	TTL         time.Duration `default:"1h" name:"ttl" help:"How long the token is valid."`
	Permissions []string      `help:"Narrow the role to these, e.g. WEBHOOK_READ,WEBHOOK_TEST; none with an empty list."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `Prints the token and nothing else. The secret is read from HOOKS_JWT_SECRET, and issuer and audience from
HOOKS_JWT_ISSUER and HOOKS_JWT_AUDIENCE, as the api reads them.

Roles: ADMIN everything; MANAGER all but delete and dispatch; SALES_REP and READ_ONLY read; SERVICE dispatches events.

Examples:

  export HOOKSCTL_TOKEN=$(hooksctl token --tenant acme)

  hooksctl token --tenant acme --role SERVICE --subject crm-core --ttl 720h

  hooksctl token --tenant acme --role MANAGER --permissions WEBHOOK_READ`
}

// Run prints a token.
func (cmd *Command) Run(c *console.Console) error {
	identity, err := env.Load[struct{ env.Identity }](c.Environ)
	if err != nil {
		return err
	}
	if identity.JWTSecret.Reveal() == "" {
		return errors.New("tokens are made by the identity provider behind HOOKS_JWKS_URL: only HOOKS_JWT_SECRET can sign here")
	}
	signed, err := cmd.mint(identity.Identity, time.Now())
	if err != nil {
		return err
	}
	c.Printf("%s", signed)
	return nil
}

func (cmd *Command) mint(identity env.Identity, now time.Time) (string, error) {
	role, err := token.ParseRole(strings.ToUpper(cmd.Role))
	if err != nil {
		return "", err
	}
	if cmd.TTL <= 0 {
		return "", fmt.Errorf("--ttl must be positive, is %s", cmd.TTL)
	}
	if strings.TrimSpace(cmd.Tenant) == "" {
		return "", errors.New("--tenant must not be empty")
	}
	claims := token.Claims{TenantID: cmd.Tenant, Role: string(role), Permissions: cmd.permissions()}
	claims.Subject = cmd.Subject
	return Sign(identity, claims, now, cmd.TTL)
}

// Sign makes a token that an api with the same identity settings takes.
func Sign(identity env.Identity, claims token.Claims, now time.Time, ttl time.Duration) (string, error) {
	claims.Issuer = identity.JWTIssuer
	if identity.JWTAudience != "" {
		claims.Audience = jwt.ClaimStrings{identity.JWTAudience}
	}
	return token.Mint([]byte(identity.JWTSecret.Reveal()), claims, now, ttl)
}

// permissions is nil when the flag was not given: the role's own.
func (cmd *Command) permissions() []string {
	if cmd.Permissions == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(cmd.Permissions), func(p string) bool { return strings.TrimSpace(p) == "" })
}
