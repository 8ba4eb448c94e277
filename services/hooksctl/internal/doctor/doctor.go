// Package doctor is `hooksctl doctor`: it looks at an installation from outside
// and says what is wrong and what to do about it. It changes nothing.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// Command is the command line of `hooksctl doctor`.
type Command struct {
	Service []string      `default:"api,worker,monitor" help:"Services whose settings are in this environment."`
	Timeout time.Duration `default:"5s" help:"How long each check of a server may take."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `Checks the settings of each service, PostgreSQL (version, clock, migrations, unfinished deliveries, a living worker,
partitions, encryption keys in use) and Redis (version, role, eviction, persistence, memory, clock, queues). Each line is ok, warn
or FAIL, and says what to do. A check that cannot be made is a FAIL and keeps none of the others. The exit code is 1 when any line
is FAIL.

Examples:

  hooksctl doctor

  hooksctl doctor --service worker    # on a machine that has the worker's settings only`
}

// level is how bad it is.
type level int

const (
	ok level = iota
	warn
	fail
)

// finding is one line of the report.
type finding struct {
	level level
	what  string
	// advice is what to do about it; empty for ok.
	advice string
}

func good(format string, args ...any) finding { return finding{what: fmt.Sprintf(format, args...)} }

// Run prints the report.
func (cmd *Command) Run(ctx context.Context, c *console.Console) error {
	report := &report{out: c}
	report.add(configuration(c.Environ, cmd.Service)...)
	if url := c.Getenv("DATABASE_URL"); url != "" {
		report.add(checkPostgres(ctx, url, encryptionKeys(c.Environ), cmd.Timeout)...)
	}
	if url := c.Getenv("REDIS_URL"); url != "" {
		report.add(checkRedis(ctx, url, cmd.Timeout)...)
	}
	switch {
	case report.fails == 1:
		return errors.New("1 check failed")
	case report.fails > 1:
		return fmt.Errorf("%d checks failed", report.fails)
	}
	return nil
}

type report struct {
	out   *console.Console
	fails int
}

func (r *report) add(findings ...finding) {
	for _, f := range findings {
		mark := r.out.Good("ok  ")
		switch f.level {
		case ok:
		case warn:
			mark = r.out.Warn("warn")
		case fail:
			mark = r.out.Bad("FAIL")
			r.fails++
		}
		r.out.Printf("%s  %s", mark, f.what)
		if f.advice != "" {
			r.out.Printf("      %s", r.out.Dim("-> "+f.advice))
		}
	}
}
