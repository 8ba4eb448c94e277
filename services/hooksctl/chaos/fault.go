package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// away is how long what is killed stays away.
	away = time.Second
	// cut is how long a fault lasts that is ended by us: shorter than a lease (15 s),
	// so that nobody's work goes to others meanwhile.
	cut = 8 * time.Second
	// usualWithin is how long the system may take to be as before, from a fault's
	// end: a lease that a dead worker leaves behind ends after 15 s.
	usualWithin = 20 * time.Second
)

// What mutations may be answered instead of success.
const (
	noAnswer    = "no answer" // the connection ended first
	unavailable = "UNAVAILABLE"
)

// fault is a row: what is done to a running system.
type fault struct {
	name, title string
	// page is the runbook, if it is not named like the row.
	page string
	// redis starts another Redis than the usual one, if set, and returns its URL.
	redis func(context.Context, *scene) (url string, err error)
	// prepare changes the scene before the services start, if set.
	prepare func(context.Context, *scene) error
	// strike begins the fault and returns when it is over.
	strike func(context.Context, *scene) error
	// refusals are allowed; every other mutation must succeed.
	refusals []string
	// shows is an error when all is over and the row has shown nothing, if set.
	shows func(context.Context, *scene) error
	// strands says that requests are cut off in flight: without any, the row shows
	// nothing.
	strands bool
	// bypassed says that the system must be as before while the fault still lasts:
	// the time for that begins with the fault, not with its end.
	bypassed bool
}

func (f fault) runbook() string {
	if f.page != "" {
		return f.page + ".md"
	}
	return f.name + ".md"
}

// limit is how long recovery may take, from the beginning of a fault.
func (f fault) limit(lasted time.Duration) time.Duration {
	if f.bypassed {
		return usualWithin
	}
	return lasted + usualWithin
}

func faults() []fault {
	var all []fault
	for _, group := range [][]fault{
		{{name: "none", title: "none", strike: func(context.Context, *scene) error { return nil }}},
		workerFaults(), loneFaults(), apiFaults(), redisFaults(), groupFaults(), postgresFaults(), networkFaults(), randomFaults(),
	} {
		all = append(all, group...)
	}
	return all
}

// steps do one thing after the other.
func steps(all ...func(context.Context, *scene) error) func(context.Context, *scene) error {
	return func(ctx context.Context, s *scene) error {
		for _, step := range all {
			if err := step(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// server is what services and servers have in common.
type server interface {
	Kill() error
	Start(ctx context.Context) error
}

// bounce kills and starts again.
func bounce(ctx context.Context, victim server) error {
	if err := victim.Kill(); err != nil {
		return err
	}
	if err := wait(ctx, away); err != nil {
		return err
	}
	return victim.Start(ctx)
}

// during lets a fault last, and ends it however it went.
func during(ctx context.Context, d time.Duration, begin func() error, end func(context.Context) error) error {
	if err := begin(); err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	err := wait(ctx, d)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if endErr := end(ending); endErr != nil {
		return fmt.Errorf("ending: %w", endErr)
	}
	return err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
