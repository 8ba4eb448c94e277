// Package rekey is `hooksctl rekey`: it seals stored secrets anew with the first
// encryption key, so that former keys can be dropped.
package rekey

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// connections are two: one for the pass, none to wait for.
const connections = 2

// Command is the command line of `hooksctl rekey`.
type Command struct {
	DryRun bool `help:"Count what would be sealed anew, make sure that it opens, and change nothing."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `Seals every signing secret and custom header that another key has sealed with the first of HOOKS_ENCRYPTION_KEYS. It can be
stopped and repeated at any time, and runs while the services do. Each process must have the new key in front before: what one
with another first key writes later needs that key again. hooksctl doctor says whether any does.

The whole procedure: deploy/runbooks/rotate-encryption-keys.md

Examples:

  hooksctl rekey --dry-run

  hooksctl rekey && hooksctl doctor`
}

// Run reports counts, and what could not be done.
func (cmd *Command) Run(ctx context.Context, c *console.Console) error {
	config, err := env.Load[struct {
		env.Database
		env.Encryption
	}](c.Environ)
	if err != nil {
		return err
	}
	db, err := postgres.Open(postgres.Config{URL: config.URL.Reveal(), MaxConns: connections})
	if err != nil {
		return err
	}
	defer db.Close()
	rekey := postgres.NewRekey(db, config.Keys)
	total, err := rekey.Count(ctx)
	if err != nil {
		return err
	}
	done, err := rekey.Run(ctx, cmd.DryRun, func(now postgres.Rekeyed) { progress(c, now, total) })
	if c.Terminal {
		_, _ = fmt.Fprint(c, "\r\x1b[K")
	}
	cmd.report(c, done, config.Keys.IDs()[0])
	if err != nil {
		return fmt.Errorf("stopped, but what is done stays done, and the next run goes on: %w", err)
	}
	if done.Failed > 0 {
		return fmt.Errorf("%d webhooks have a value that does not open; it needs its key in HOOKS_ENCRYPTION_KEYS", done.Failed)
	}
	if cmd.DryRun {
		return nil
	}
	return verdict(ctx, c, db, config.Keys.IDs()[0])
}

// progress keeps one line of a terminal up to date.
func progress(c *console.Console, now postgres.Rekeyed, total int) {
	if c.Terminal {
		_, _ = fmt.Fprintf(c, "\r%d of %d webhooks", now.Webhooks+now.Failed, total)
	}
}

func (cmd *Command) report(c *console.Console, done postgres.Rekeyed, first string) {
	what := c.Good("sealed anew")
	if cmd.DryRun {
		what = c.Warn("to be sealed anew")
	}
	c.Printf("%s  %d webhooks: %d secrets, custom headers of %d, with key %s", what, done.Webhooks, done.Secrets, done.Headers, first)
	for _, fault := range done.Faults {
		c.Printf("%s  %v", c.Bad("FAIL"), fault)
	}
	if more := done.Failed - len(done.Faults); more > 0 {
		c.Printf("%s  and %d more", c.Bad("FAIL"), more)
	}
}

// verdict looks once more: a process that seals with another key may have
// written behind the pass.
func verdict(ctx context.Context, c *console.Console, db *sqlx.DB, first string) error {
	needed, err := postgres.InspectSeals(ctx, db)
	if err != nil {
		return err
	}
	delete(needed, first)
	if len(needed) > 0 {
		return errors.New("another key was used meanwhile: put the new key first in every api and worker, restart them, and run this again")
	}
	c.Printf("no other key is needed any more: once hooksctl doctor says so, too, drop the others from HOOKS_ENCRYPTION_KEYS")
	return nil
}
