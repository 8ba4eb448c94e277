package deliver

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// claimPatience is how long a claim may take before others are rung for what waits
	// behind it: hundreds of times as long as usual, and half of what the relay gives
	// it.
	claimPatience = time.Second
	// askEvery is how often PostgreSQL is asked whether claims are answered again. No
	// claim is tried for as long after one that failed.
	askEvery = 250 * time.Millisecond
	// tellEvery bounds what the log says of it.
	tellEvery = 5 * time.Second
)

// watch has others rung for whatever waits when a claim that begins is not answered
// soon; ended tells that it is. Until then, or until PostgreSQL answers claims again,
// no bells are fetched: who can claim hears them.
func (e *Engine) watch() (ended func(error)) {
	done := false // guarded by mu
	late := time.AfterFunc(claimPatience, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !done {
			e.shut(slog.Duration("waited", claimPatience))
		}
	})
	return func(err error) {
		late.Stop()
		e.mu.Lock()
		defer e.mu.Unlock()
		done = true
		if errors.Is(err, webhook.ErrUnavailable) {
			e.shut(obs.Err(err))
			return
		}
		e.reopen()
	}
}

// shut needs mu.
func (e *Engine) shut(why slog.Attr) {
	if e.deaf {
		return
	}
	e.deaf = true
	e.cfg.Gate.Shut()
	e.tellDeaf.Do(func() {
		e.cfg.Log.Warn("PostgreSQL does not answer claims, leaving bells to other workers", why)
		e.toldDeaf = true
	})
	e.turnAwayAll(webhook.Unavailable(nil))
}

// reopen needs mu.
func (e *Engine) reopen() {
	if !e.deaf {
		return
	}
	e.deaf = false
	e.cfg.Gate.Open()
	if e.toldDeaf {
		e.cfg.Log.Info("PostgreSQL answers claims, hearing bells again")
		e.toldDeaf = false
	}
}

func (e *Engine) isDeaf() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deaf
}

// awaitClaims asks until PostgreSQL answers claims, or ctx ends.
func (e *Engine) awaitClaims(ctx, base context.Context) {
	for e.isDeaf() {
		pause := time.NewTimer(askEvery)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		asking, cancel := context.WithTimeout(base, storeTimeout)
		_, err := e.cfg.Store.Claim(asking, nil, e.holders.next())
		cancel()
		if !errors.Is(err, webhook.ErrUnavailable) {
			e.mu.Lock()
			e.reopen()
			e.mu.Unlock()
		}
	}
}
