// Package cli is hooksctl's command line: which commands there are. What they
// do is in a package each.
//
// It promises that every command shows examples when asked for help, that one
// that cannot be understood does nothing and says where its help is, and that an
// error is returned, never printed: whoever calls Run prints it and gives the
// exit code.
package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/alecthomas/kong"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/dev"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/dispatch"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/doctor"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/listen"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/migrate"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/mint"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/probe"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/rekey"
)

type commands struct {
	Dev      dev.Command      `cmd:"" help:"Run the whole system on this machine, and deliver one event to show that it works."`
	Dispatch dispatch.Command `cmd:"" help:"Send an event to the API."`
	Listen   listen.Command   `cmd:"" help:"Receive webhooks here: verify each, print it, fail on demand."`
	Token    mint.Command     `cmd:"" help:"Make a bearer token from HOOKS_JWT_SECRET."`
	Migrate  migrate.Command  `cmd:"" help:"Bring the database's schema up to date."`
	Rekey    rekey.Command    `cmd:"" help:"Seal stored secrets anew with the first encryption key, before a former one is dropped."`
	Doctor   doctor.Command   `cmd:"" help:"Say what is wrong with an installation, and what to do about it."`
	Probe    probe.Command    `cmd:"" help:"Ask a URL for a sign of life; for health checks in containers."`
	Version  version          `cmd:"" help:"Print the version."`
}

const description = `The CLI of crm-webhooks: develop, try out and operate it.

Commands that need PostgreSQL, Redis or a secret take them from the same environment variables as the services.

Examples:

  hooksctl dev                                 # all of it on this machine

  hooksctl listen --secret whsec_...           # a receiver that verifies

  hooksctl dispatch --event LEAD_CREATED       # an event for it

  hooksctl doctor                              # what is wrong, and what to do about it`

// Run runs the command that args name and returns when it is done.
func Run(ctx context.Context, args []string, c *console.Console) error {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	exited := false
	parser, err := kong.New(new(commands),
		kong.Name("hooksctl"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Writers(c, c.Err),
		kong.Exit(func(int) { exited = true }), // after --help
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(c),
	)
	if err != nil {
		return fmt.Errorf("reading the command line's grammar: %w", err)
	}
	command, err := parser.Parse(args)
	switch {
	case exited:
		return nil
	case err != nil:
		return usageError(err)
	default:
		return command.Run()
	}
}

// usageError says where help is.
func usageError(err error) error {
	command := "hooksctl"
	if parse := (*kong.ParseError)(nil); errors.As(err, &parse) && parse.Context.Selected() != nil {
		command = parse.Context.Selected().FullPath()
	}
	return fmt.Errorf("%w (see %s --help)", err, command)
}

type version struct{}

// Help is shown by --help.
func (version) Help() string {
	return `The version of this binary, that of Go, and the platform: what a report of a fault should say.

Example:

  hooksctl version`
}

// Run prints it.
func (version) Run(c *console.Console) error {
	c.Printf("hooksctl %s %s %s/%s", obs.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
