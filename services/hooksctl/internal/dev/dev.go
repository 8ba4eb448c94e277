// Package dev is `hooksctl dev`: the whole system in one process, for whoever
// develops it or wants to see it work.
//
// It promises that every start ends with a real event delivered through real
// PostgreSQL, Redis, api and worker to a receiver that verified it with a library
// that shares no code with the signer, or with an error; that data and secrets
// survive restarts; and that a stop leaves nothing running.
package dev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// Command is the command line of `hooksctl dev`.
type Command struct {
	Once         bool   `help:"Stop after the first delivery, with success: for CI."`
	Verbose      bool   `short:"v" help:"Log to standard error instead of to files."`
	Dir          string `default:".run/dev" help:"Folder for data, secrets and logs." placeholder:"DIR"`
	ReceiverAddr string `default:"127.0.0.1:8082" help:"Address of the demo receiver."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `Starts a private PostgreSQL and Redis (or uses DATABASE_URL and REDIS_URL where set), migrates, starts api, worker,
monitor and a demo receiver, and delivers one event. Ports that are in use are replaced by free ones.

Any HOOKS_* variable overrides the development default. Deleting the folder starts afresh.

Examples:

  hooksctl dev

  hooksctl dev --once    # a smoke test: exits 0 once an event is delivered and verified

  HOOKS_LOG_LEVEL=debug hooksctl dev --verbose`
}

const (
	// stopGrace is what the services may take to stop: a worker's longest exchange
	// and its record.
	stopGrace = 50 * time.Second
	// serversGrace is what the private servers may take after that.
	serversGrace = 15 * time.Second
)

// session is one run of the command.
type session struct {
	cmd     *Command
	out     *console.Console
	kept    kept
	logs    *logs
	servers *servers
	// delivered tells that the demonstration succeeded.
	delivered bool
}

var errNotDelivered = errors.New("stopped before the event was delivered")

// Run runs the system until ctx ends, or the first delivery with --once.
func (cmd *Command) Run(ctx context.Context, c *console.Console) (err error) {
	if err := os.MkdirAll(cmd.Dir, 0o755); err != nil { //nolint:gosec // PostgreSQL's user has to pass through
		return fmt.Errorf("making folder: %w", err)
	}
	s := &session{cmd: cmd, out: c, logs: &logs{dir: cmd.Dir, verbose: cmd.Verbose, stderr: c.Err}}
	defer func() { err = errors.Join(err, s.logs.close()) }()
	if s.servers, err = s.startServers(ctx); err != nil {
		return s.unlessTold(ctx, err)
	}
	defer func() { err = errors.Join(err, s.stopServers(ctx)) }()
	// Only whoever holds the servers' folder may write beside them.
	if s.kept, err = keep(filepath.Join(cmd.Dir, "secrets.json")); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return s.unlessTold(ctx, err)
	}
	if err := s.serve(ctx); err != nil {
		return err
	}
	if cmd.Once && !s.delivered {
		return errNotDelivered
	}
	return nil
}

// unlessTold turns the errors of a start that was interrupted into what they mean.
func (s *session) unlessTold(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return err
	case s.cmd.Once:
		return errNotDelivered
	default:
		return nil
	}
}

func (s *session) migrate(ctx context.Context) error {
	migrations, err := postgres.MigrationStatus(ctx, s.servers.databaseURL)
	if err != nil {
		return err
	}
	pending := 0
	for _, m := range migrations {
		if m.Pending() {
			pending++
		}
	}
	log, err := s.logs.logger("migrate")
	if err != nil {
		return err
	}
	if err := postgres.Migrate(ctx, s.servers.databaseURL, log); err != nil {
		return err
	}
	s.step("schema up to date, %d of %d migrations applied now", pending, len(migrations))
	return nil
}

// serve runs the services and the demonstration beside each other.
func (s *session) serve(ctx context.Context) error {
	log, err := s.logs.logger("dev")
	if err != nil {
		return err
	}
	tasks.RouteClientLog(log)
	sys, err := s.newSystem(ctx)
	if err != nil {
		return err
	}
	ctx, finish := context.WithCancel(ctx)
	defer finish()
	group := run.NewGroup(log, stopGrace)
	sys.addTo(group)
	group.OnClose("settings for other terminals", func(context.Context) error { return s.withdraw() })
	group.Add("servers", s.servers.wait)
	group.Add("farewell", func(ctx context.Context) error {
		<-ctx.Done()
		s.out.Printf("\n%s", s.out.Dim("stopping, what is in flight is finished ..."))
		return nil
	})
	group.Add("demonstration", func(ctx context.Context) error {
		err := s.demonstrate(ctx, sys)
		if err == nil && s.cmd.Once {
			finish()
		}
		return err
	})
	if err := group.Run(ctx); err != nil {
		return fmt.Errorf("%w (logs: %s)", err, s.logs.where())
	}
	return nil
}

// step reports one thing done.
func (s *session) step(format string, args ...any) {
	s.out.Printf("%s  %s", s.out.Good("ok"), fmt.Sprintf(format, args...))
}
