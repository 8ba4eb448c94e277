package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// Leadership is held by one process at a time.
type Leadership interface {
	Still(ctx context.Context) error
	Resign(ctx context.Context) error
}

// Lead tries to become leader; nil without error means that another one is.
type Lead func(ctx context.Context) (Leadership, error)

const (
	interval = time.Second
	// tickLimit bounds a tick: it must end, so that leadership is checked.
	tickLimit = 20 * time.Second
	// resignLimit is how long giving a lead up may take.
	resignLimit = 2 * time.Second
)

// duty is what one process at a time does, tick by tick.
type duty interface {
	Tick(ctx context.Context)
	// able reports whether this process could do it now. Who could not does not
	// compete for the lead, and does not hold up who could.
	able(ctx context.Context) bool
	// unable reports that the one who leads should leave it to others. A moment in
	// which it cannot do much is no reason: a change of leaders takes as long.
	unable(ctx context.Context) bool
}

// office is a duty and how to get into it.
type office struct {
	duty

	name   string
	lead   Lead
	leader prometheus.Gauge
	log    *slog.Logger
}

// run leads whenever it can, until ctx ends. PostgreSQL being away is not an
// error here: there is nothing to do meanwhile.
func (o office) run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !o.able(ctx) {
			continue
		}
		if leadership, err := o.lead(ctx); err == nil && leadership != nil {
			o.hold(ctx, leadership, ticker)
		}
	}
}

// hold ticks until ctx or leadership ends, or others should have it.
func (o office) hold(ctx context.Context, leadership Leadership, ticker *time.Ticker) {
	o.log.InfoContext(ctx, "leading", obs.Component(o.name))
	o.leader.Set(1)
	defer func() {
		o.leader.Set(0)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignLimit)
		defer cancel()
		_ = leadership.Resign(end) // the lock ends with the connection in any case
	}()
	for {
		if err := leadership.Still(ctx); err != nil {
			return
		}
		o.Tick(ctx)
		if o.unable(ctx) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// try does one step of a tick; the others do not depend on it.
func try(ctx context.Context, log *slog.Logger, duty, doing string, step func(context.Context) error) {
	if err := step(ctx); err != nil && ctx.Err() == nil {
		log.WarnContext(ctx, "step not done, next tick will", obs.Component(duty), slog.String("step", doing), obs.Err(err))
	}
}
