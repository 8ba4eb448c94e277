// Command withservers runs a command with a private PostgreSQL and Redis:
//
//	withservers -- go test ./...      # servers for one command, then gone
//	withservers -keep .run/servers    # servers until Ctrl-C, for another terminal
//	withservers -missing              # names what has to be installed, if anything
//
// The command finds them in TEST_DATABASE_URL and TEST_REDIS_URL. Where both
// are set already, nothing is started. The names are not HOOKS_*: no test may
// take the servers of a real installation for its own.
//
// The exit code is the command's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
)

const (
	databaseVar = "TEST_DATABASE_URL"
	redisVar    = "TEST_REDIS_URL"

	startTimeout = 2 * time.Minute // initdb on a busy disk takes its time
	stopTimeout  = 10 * time.Second
	// redisDatabases is many because each test takes one for itself.
	redisDatabases = 4096
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("withservers", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprintln(stderr, "usage: withservers [-dir DIR] -- COMMAND [ARG...]\n       withservers -keep DIR\n       withservers -missing")
		flags.PrintDefaults()
	}
	dir := flags.String("dir", "", "folder for the servers of one command (default: a temporary one)")
	keep := flags.String("keep", "", "keep servers running in this folder until Ctrl-C; DIR/env has their URLs")
	missing := flags.Bool("missing", false, "print which of postgresql and redis have to be installed")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	var code int
	var err error
	switch command := flags.Args(); {
	case *missing:
		printMissing(stdout)
	case *keep != "" && len(command) == 0:
		err = keepServers(*keep, stdout, log)
	case *keep == "" && len(command) > 0:
		code, err = runWithServers(*dir, command, log)
	default:
		flags.Usage()
		return 2
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "withservers:", err)
		return max(code, 1)
	}
	return code
}

// printMissing prints a word for each missing server, for a script.
func printMissing(stdout io.Writer) {
	if devstack.FindPostgres() != nil {
		_, _ = fmt.Fprintln(stdout, "postgresql")
	}
	if devstack.FindRedis() != nil {
		_, _ = fmt.Fprintln(stdout, "redis")
	}
}

// keepServers prints the servers' URLs as shell lines and holds them until a
// signal comes or a server dies.
func keepServers(dir string, stdout io.Writer, log *slog.Logger) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	stack, err := start(ctx, dir, log)
	if err != nil {
		return err
	}
	env := fmt.Sprintf("export %s='%s'\nexport %s='%s'\n", databaseVar, stack.DatabaseURL(), redisVar, stack.RedisURL())
	envFile := filepath.Join(dir, "env")
	if err := os.WriteFile(envFile, []byte(env), 0o600); err != nil {
		return errors.Join(fmt.Errorf("writing URLs: %w", err), stop(stack))
	}
	defer os.Remove(envFile)
	_, _ = fmt.Fprint(stdout, env)
	log.Info("servers run until Ctrl-C", "env", envFile)
	return errors.Join(stack.Wait(ctx), stop(stack))
}

// runWithServers runs a command and returns its exit code.
func runWithServers(dir string, command []string, log *slog.Logger) (int, error) {
	if os.Getenv(databaseVar) != "" && os.Getenv(redisVar) != "" {
		return runCommand(command, os.Environ())
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer cancel()
	stack, err := start(ctx, dir, log)
	if err != nil {
		return 1, err
	}
	env := append(os.Environ(), databaseVar+"="+stack.DatabaseURL(), redisVar+"="+stack.RedisURL())
	code, err := runCommand(command, env)
	return code, errors.Join(err, stop(stack))
}

// runCommand leaves Ctrl-C to the command, which the terminal tells as well,
// and passes on the signals that come to us alone.
func runCommand(command, env []string) (int, error) {
	cmd := exec.Command(command[0], command[1:]...) //nolint:noctx // signals end it
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 127, fmt.Errorf("starting command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // waited for by the loop below
	for {
		select {
		case sig := <-signals:
			if sig != os.Interrupt {
				_ = cmd.Process.Signal(sig) // it may just have ended
			}
		case err := <-ended:
			return exitCode(cmd.ProcessState, err)
		}
	}
}

// exitCode follows the shell: a command ended by signal n counts as 128+n.
func exitCode(state *os.ProcessState, err error) (int, error) {
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return 1, fmt.Errorf("waiting for command: %w", err)
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return state.ExitCode(), nil
}

func start(ctx context.Context, dir string, log *slog.Logger) (*devstack.Stack, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("servers not up within %s", startTimeout))
	defer cancel()
	stack, err := devstack.Start(ctx, devstack.Config{Dir: dir, RedisDatabases: redisDatabases, Log: log})
	if err != nil {
		return nil, fmt.Errorf("starting servers: %w", err)
	}
	return stack, nil
}

func stop(stack *devstack.Stack) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := stack.Stop(ctx); err != nil {
		return fmt.Errorf("stopping servers: %w", err)
	}
	return nil
}
