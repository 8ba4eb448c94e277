package relay

import (
	"context"
	"errors"
	"time"
)

// announce makes events of what the platform has to say: a page for each tenant
// in turn, until time is up or all is said. The next tick goes on with the next
// tenant, also after a fault.
func (r *Relay) announce(ctx context.Context) (faults error) {
	started := time.Now()
	for more := true; more; {
		tenants, err := r.cfg.Store.WithNotices(ctx, r.announced, announceTenants)
		if err != nil {
			return err
		}
		more = len(tenants) == announceTenants || r.announced != ""
		for _, tenant := range tenants {
			r.announced = tenant
			n, owed, err := r.cfg.Store.Announce(ctx, tenant, r.cfg.Window, announcePage)
			r.cfg.Doorbell.Ring(owed)
			faults, more = errors.Join(faults, err), more || n == announcePage
			if time.Since(started) >= announceLimit {
				return faults
			}
		}
		if len(tenants) < announceTenants {
			r.announced = ""
		}
	}
	return faults
}
