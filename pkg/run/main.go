package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// Exit codes: a shell sees 130 for a process that was interrupted.
const (
	exitOK          = 0
	exitFailed      = 1
	exitInterrupted = 130
)

// gcPercent trades memory for processor time: the heaps of these processes are
// small and their garbage is much. GOGC, when set, has the last word.
const gcPercent = 400

// Main runs body until it returns and exits the process: 0 after success or a
// stop by signal, 1 with one line on standard error after a failure.
//
// SIGINT and SIGTERM end body's context; a second signal exits at once.
func Main(name string, body func(ctx context.Context) error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	os.Exit(supervise(name, body, signals, os.Stderr))
}

func supervise(name string, body func(ctx context.Context) error, signals <-chan os.Signal, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- body(ctx) }() // waited for below, unless a second signal ends the process
	stopping := false
	for {
		select {
		case err := <-done:
			if err == nil || stopping && errors.Is(err, context.Canceled) {
				return exitOK
			}
			_, _ = fmt.Fprintf(stderr, "%s: %v\n", name, err)
			return exitFailed
		case s := <-signals:
			if stopping {
				_, _ = fmt.Fprintf(stderr, "%s: second signal, exiting at once\n", name)
				return exitInterrupted
			}
			stopping = true
			cancel(fmt.Errorf("received %s", s))
		}
	}
}
