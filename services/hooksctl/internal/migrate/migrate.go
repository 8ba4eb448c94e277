// Package migrate is `hooksctl migrate`: it applies the schema that is built in.
//
// It promises that any number may run at once and each migration is applied once,
// that one that fails leaves those before it applied and the rest untouched, and
// that status only reads. There is no way down: a schema is mended by the next
// migration.
package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// Command is the command line of `hooksctl migrate`.
type Command struct {
	Up     up     `cmd:"" help:"Apply the migrations that are pending."`
	Status status `cmd:"" help:"List all migrations, and which are pending."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `The schema is built into this binary. Both commands need DATABASE_URL only.

Examples:

  hooksctl migrate status

  hooksctl migrate up`
}

type up struct {
	Wait time.Duration `default:"30s" help:"How long to wait for PostgreSQL to answer."`
}

// Help is shown by --help.
func (up) Help() string {
	return `Any number may run at once: one applies, the others wait and find nothing to do. Services that are already running go on:
every migration keeps the schema usable for the release before it.

Example:

  DATABASE_URL=postgres://hooks:secret@localhost:5432/hooks hooksctl migrate up`
}

// Run applies what is pending and lists it.
func (u *up) Run(ctx context.Context, c *console.Console) error {
	url, err := databaseURL(c)
	if err != nil {
		return err
	}
	before, err := u.await(ctx, url, c)
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, url, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	applied := 0
	for _, m := range before {
		if m.Pending() {
			applied++
			c.Printf("%s  %s", c.Good("applied"), m.Name)
		}
	}
	c.Printf("up to date: %d migrations, %d of them applied now", len(before), applied)
	return nil
}

func (u *up) await(ctx context.Context, url string, c *console.Console) ([]postgres.Migration, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, u.Wait, fmt.Errorf("gave up after %s", u.Wait))
	defer cancel()
	log := slog.New(slog.NewTextHandler(c.Err, nil))
	var migrations []postgres.Migration
	err := run.WaitFor(ctx, log, "PostgreSQL", func(ctx context.Context) (err error) {
		migrations, err = postgres.MigrationStatus(ctx, url)
		return err
	})
	return migrations, err
}

type status struct{}

// Help is shown by --help.
func (status) Help() string {
	return `Reads only. Pending are those of this binary that the database lacks; what it has beyond them is not listed.

Examples:

  DATABASE_URL=postgres://hooks:secret@localhost:5432/hooks hooksctl migrate status

  hooksctl migrate status | grep ^pending    # nothing when the schema is up to date`
}

// Run lists the migrations.
func (status) Run(ctx context.Context, c *console.Console) error {
	url, err := databaseURL(c)
	if err != nil {
		return err
	}
	migrations, err := postgres.MigrationStatus(ctx, url)
	if err != nil {
		return err
	}
	pending := 0
	for _, m := range migrations {
		if m.Pending() {
			pending++
			c.Printf("%s                %s", c.Warn("pending"), m.Name)
			continue
		}
		c.Printf("%s  %s", c.Good("applied "+m.AppliedAt.UTC().Format("2006-01-02 15:04")), m.Name)
	}
	if pending > 0 {
		c.Printf("%d pending: run hooksctl migrate up", pending)
	}
	return nil
}

func databaseURL(c *console.Console) (string, error) {
	config, err := env.Load[struct{ env.Database }](c.Environ)
	if err != nil {
		return "", err
	}
	return config.URL.Reveal(), nil
}
