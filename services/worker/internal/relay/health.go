package relay

import (
	"context"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// judge disables webhooks that fail beyond tolerance.
func (r *Relay) judge(ctx context.Context) error {
	disabled, err := r.cfg.Store.DisableFailing(ctx, r.cfg.Tolerance, judgePage)
	for _, hook := range disabled {
		r.cfg.Log.InfoContext(ctx, "webhook disabled: it has only failed", obs.Webhook(hook))
	}
	return err
}

// announce makes events of what the platform has to say, page by page. What it
// does not get to is in the next tick.
func (r *Relay) announce(ctx context.Context) error {
	for started := time.Now(); time.Since(started) < announceLimit; {
		n, owed, err := r.cfg.Store.Announce(ctx, r.cfg.Window, announcePage)
		r.cfg.Doorbell.Ring(owed)
		if err != nil || n < announcePage {
			return err
		}
	}
	return nil
}
