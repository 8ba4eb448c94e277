package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// Group is the components of a process and what to close after them.
type Group struct {
	log        *slog.Logger
	grace      time.Duration
	components []component
	closers    []component
}

type component struct {
	name string
	run  func(context.Context) error
}

// closeGrace is what one closer may take: it closes a pool, it does no work.
const closeGrace = 3 * time.Second

// NewGroup returns an empty group whose components have grace to return once
// their context has ended.
func NewGroup(log *slog.Logger, grace time.Duration) *Group {
	return &Group{log: log, grace: grace}
}

// Add names a component. One that returns nil before the context ends has
// finished; that stops nobody.
func (g *Group) Add(name string, run func(context.Context) error) {
	g.components = append(g.components, component{name, run})
}

// OnClose names something to close when all components have returned. The last
// one added is closed first.
func (g *Group) OnClose(name string, closer func(context.Context) error) {
	g.closers = append(g.closers, component{name, closer})
}

// Run starts every component, waits for all of them and closes what is to be
// closed. It returns nil when ctx ended and everything stopped in time, else
// the failures, the first one first.
func (g *Group) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := g.wait(ctx, cancel)
	errs = append(errs, g.close(context.WithoutCancel(ctx))...)
	return errors.Join(errs...)
}

// Close closes what was added so far, for a start that failed before Run.
func (g *Group) Close() error {
	return errors.Join(g.close(context.Background())...)
}

type outcome struct {
	component int
	err       error
}

func (g *Group) wait(ctx context.Context, cancel context.CancelCauseFunc) []error {
	outcomes := make(chan outcome, len(g.components)) // room for all: a component that is given up on still ends
	running := map[int]bool{}
	for i, c := range g.components {
		running[i] = true
		go func() { outcomes <- outcome{i, c.run(ctx)} }()
	}
	var errs []error
	var tooLate <-chan time.Time
	ended := ctx.Done()
	for len(running) > 0 {
		select {
		case o := <-outcomes:
			delete(running, o.component)
			if o.err == nil || ctx.Err() != nil && errors.Is(o.err, context.Canceled) {
				continue
			}
			err := fmt.Errorf("%s: %w", g.components[o.component].name, o.err)
			errs = append(errs, err)
			cancel(err)
		case <-ended:
			ended = nil
			g.log.InfoContext(ctx, "stopping", slog.String("reason", context.Cause(ctx).Error()))
			timer := time.NewTimer(g.grace)
			defer timer.Stop()
			tooLate = timer.C
		case <-tooLate:
			return append(errs, fmt.Errorf("still running %s after the stop: %s", g.grace, g.names(running)))
		}
	}
	return errs
}

func (g *Group) names(running map[int]bool) string {
	var names []string
	for i, c := range g.components {
		if running[i] {
			names = append(names, c.name)
		}
	}
	return strings.Join(names, ", ")
}

func (g *Group) close(ctx context.Context) []error {
	var errs []error
	for _, c := range slices.Backward(g.closers) {
		if err := c.closeWithin(ctx); err != nil {
			errs = append(errs, fmt.Errorf("closing %s: %w", c.name, err))
		}
	}
	g.closers = nil
	if len(errs) > 0 {
		g.log.WarnContext(ctx, "closing", obs.Err(errors.Join(errs...)))
	}
	return errs
}

// closeWithin gives a closer up that ignores its context, so that the ones
// after it get their turn.
func (c component) closeWithin(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, closeGrace, fmt.Errorf("not done after %s", closeGrace))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.run(ctx) }() // waited for below while there is time
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
