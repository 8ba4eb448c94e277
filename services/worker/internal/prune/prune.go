// Package prune keeps the tables in shape: partitions are made ahead of time,
// and what is older than the retention goes, a partition at a time. One worker
// does it, by an advisory lock.
package prune

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// Store makes and drops.
type Store interface {
	CreatePartitions(ctx context.Context, now time.Time, days int) (made int, err error)
	DropPartitions(ctx context.Context, now time.Time, keep time.Duration) (days []string, err error)
	DeleteExpired(ctx context.Context, keep time.Duration) error
}

// Config is what a Pruner needs; all fields are required.
type Config struct {
	Store Store
	// Lead tries to become leader and returns how to resign; nil without error
	// means that another process leads.
	Lead      func(ctx context.Context) (resign func(context.Context) error, err error)
	Retention time.Duration
	Log       *slog.Logger
	Now       func() time.Time
}

const (
	interval = 10 * time.Minute
	// hurry is how soon a failed round is tried again.
	hurry = 30 * time.Second
	// daysAhead is how long the workers may be away before rows go to the default
	// partition.
	daysAhead  = 3
	roundLimit = 5 * time.Minute
	resignTime = 2 * time.Second
)

// Pruner prunes. Run it.
type Pruner struct{ cfg Config }

// New makes a Pruner.
func New(cfg Config) *Pruner { return &Pruner{cfg} }

// Run prunes at once and then every ten minutes, until ctx ends.
func (p *Pruner) Run(ctx context.Context) error {
	for {
		wait := interval
		if err := p.Round(ctx); err != nil && ctx.Err() == nil {
			p.cfg.Log.WarnContext(ctx, "prune: round not finished, trying again soon", obs.Err(err))
			wait = hurry
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Round does what is to be done now, unless another process is at it.
func (p *Pruner) Round(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, roundLimit)
	defer cancel()
	resign, err := p.cfg.Lead(ctx)
	if err != nil || resign == nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTime)
		defer cancel()
		err = errors.Join(err, resign(end))
	}()
	// Each of the three goes on without the others.
	made, notMade := p.cfg.Store.CreatePartitions(ctx, p.cfg.Now(), daysAhead)
	dropped, notDropped := p.cfg.Store.DropPartitions(ctx, p.cfg.Now(), p.cfg.Retention)
	if made > 0 || len(dropped) > 0 {
		p.cfg.Log.InfoContext(ctx, "prune: partitions", slog.Int("made", made), slog.Any("days_dropped", dropped))
	}
	return errors.Join(notMade, notDropped, p.cfg.Store.DeleteExpired(ctx, p.cfg.Retention))
}
