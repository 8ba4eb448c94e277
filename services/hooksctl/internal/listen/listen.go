// Package listen is `hooksctl listen`: a receiver on this machine.
//
// It promises that a request is printed before it is answered, that with a secret
// only what the reference library of Standard Webhooks verifies is answered with
// success, and that it fails exactly as told. It keeps nothing, and recognises no
// repetition.
package listen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/receiver"
)

// Command is the command line of `hooksctl listen`.
type Command struct {
	Addr   string        `default:"127.0.0.1:8082" help:"Address to listen on; port 0 picks one."`
	Secret []string      `help:"Signing secret of the webhook (whsec_...); repeat it while a secret is being rotated." env:"HOOKSCTL_SECRET" placeholder:"WHSEC"`
	Status int           `help:"Answer with this HTTP status instead of 204." placeholder:"CODE"`
	Every  int           `default:"1" help:"With --status: fail every N-th request only."`
	Delay  time.Duration `help:"Wait before each answer."`
	Body   bool          `help:"Print the bodies as well."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `Verifies signatures with the reference library of Standard Webhooks; a bad one is answered with 401. The services refuse
to send to private addresses and to plain http unless HOOKS_ALLOWED_NETWORKS=127.0.0.0/8 and HOOKS_ALLOW_HTTP=true.

Examples:

  hooksctl listen --secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw

  hooksctl listen --status 500 --every 3    # every third request fails

  hooksctl listen --delay 3s --body`
}

// Validate is called by the parser.
func (cmd *Command) Validate() error {
	switch {
	case cmd.Status != 0 && (cmd.Status < 200 || cmd.Status > 599):
		return errors.New("--status must be from 200 to 599")
	case cmd.Every < 1:
		return errors.New("--every must be at least 1")
	case cmd.Delay < 0:
		return errors.New("--delay must not be negative")
	default:
		return nil
	}
}

// Run receives until ctx ends.
func (cmd *Command) Run(ctx context.Context, c *console.Console) error {
	handler := receiver.New(receiver.Misbehaviour{Status: cmd.Status, Every: cmd.Every, Delay: cmd.Delay}, cmd.print(c))
	if err := handler.Trust(cmd.Secret...); err != nil {
		return err
	}
	server, err := run.NewServer(ctx, run.ServerConfig{
		Name: "receiver", Addr: cmd.Addr, Handler: handler, Log: slog.New(slog.DiscardHandler), Grace: cmd.Delay + time.Second,
	})
	if err != nil {
		return err
	}
	c.Printf("listening on http://%s, %s; Ctrl-C ends it", server.Addr(), cmd.trust())
	return server.Run(ctx)
}

func (cmd *Command) trust() string {
	switch len(cmd.Secret) {
	case 0:
		return "verifying nothing (give --secret)"
	case 1:
		return "verifying with one secret"
	default:
		return fmt.Sprintf("verifying with %d secrets", len(cmd.Secret))
	}
}

func (cmd *Command) print(c *console.Console) func(receiver.Request) {
	return func(r receiver.Request) {
		line := receiver.Line(c, r)
		if cmd.Body {
			line += "\n" + receiver.Body(r)
		}
		c.Printf("%s", line)
	}
}
