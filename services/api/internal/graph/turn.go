package graph

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
)

// turn lets a request make a large answer: of a tenant there is one at a time,
// from when it grows large until it is read, and few are made at a time, as making
// one takes several times the memory that it has bytes.
type turn struct {
	tenants *limit.Places
	all     chan struct{} // holds a token for each that is made

	mu     sync.Mutex
	joined bool // it is the tenant's one
	taken  atomic.Bool
}

// take waits for the turn, unless it has come already. It returns false when the
// tenant's other one lasts too long; when ctx ends it may return without.
func (t *turn) take(ctx context.Context) bool {
	if t.taken.Load() {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken.Load() {
		return true
	}
	if t.joined = t.joined || limit.PlaceOf(ctx).Join(ctx, t.tenants); !t.joined {
		return false
	}
	select {
	case t.all <- struct{}{}:
		t.taken.Store(true)
	case <-ctx.Done():
	}
	return true
}

// end lets other tenants make theirs. What has been read stays in memory, and so the
// request remains its tenant's one. It is called while nothing takes the turn.
func (t *turn) end() {
	if t.taken.Swap(false) {
		<-t.all
	}
}
