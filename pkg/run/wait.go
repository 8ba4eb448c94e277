package run

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// The pauses between probes double from first to last; a probe that hangs is
// cut off, and the log repeats itself only now and then.
const (
	firstPause   = 200 * time.Millisecond
	lastPause    = 5 * time.Second
	probeTimeout = 5 * time.Second
	logInterval  = 10 * time.Second
)

// WaitFor probes a server that the process cannot start without until it
// answers or ctx ends, and says so in the log: name is "PostgreSQL" or "Redis".
func WaitFor(ctx context.Context, log *slog.Logger, name string, probe func(context.Context) error) error {
	started := time.Now()
	var logged time.Time
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := probeOnce(ctx, name, probe)
		if err == nil {
			if !logged.IsZero() {
				log.InfoContext(ctx, name+" is there", //nolint:sloglint // callers name one of two servers
					slog.Duration("waited", time.Since(started).Round(time.Millisecond)))
			}
			return nil
		}
		if ctx.Err() == nil && (logged.IsZero() || time.Since(logged) >= logInterval) {
			logged = time.Now()
			log.WarnContext(ctx, "waiting for "+name, obs.Err(err)) //nolint:sloglint // callers name one of two servers
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", name, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

func probeOnce(ctx context.Context, name string, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, probeTimeout, fmt.Errorf("%s did not answer within %s", name, probeTimeout))
	defer cancel()
	return probe(ctx)
}
