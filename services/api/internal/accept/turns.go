package accept

import (
	"context"
	"sync"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// turns is a queue of submissions that take long. Tenants take turns, and no
// tenant has two of them stored at once, nor more than a part of the queue: one
// that submits very much waits for itself. When others have filled the queue there
// is still room for one submission of each tenant that has none in it: its turn
// comes after one of each of theirs.
type turns struct {
	limit, perTenant int
	cost             func(*request) int // of the room that there is

	mu      sync.Mutex
	size    int
	waiting map[webhook.TenantID]*line
	// order has the tenants of waiting whose turn may come: not those in running.
	order   []webhook.TenantID
	running map[webhook.TenantID]bool
	wake    chan struct{} // holds a token while order is not empty
}

// line is what a tenant has waiting.
type line struct {
	requests []*request
	size     int
}

// maxLines is how many tenants may get into a queue that is full.
const maxLines = 16

func newTurns(limit, perTenant int, cost func(*request) int) *turns {
	return &turns{
		limit: limit, perTenant: perTenant, cost: cost,
		waiting: map[webhook.TenantID]*line{}, running: map[webhook.TenantID]bool{}, wake: make(chan struct{}, 1),
	}
}

// put reports false when there is no room.
func (q *turns) put(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	tenant, cost := r.tenant(), q.cost(r)
	mine, full := q.waiting[tenant], q.size+cost > q.limit
	switch {
	case mine == nil && full && len(q.waiting) >= maxLines:
		return false
	case mine == nil:
		mine = &line{}
		q.waiting[tenant] = mine
		if !q.running[tenant] {
			q.lineUp(tenant)
		}
	case full || mine.size+cost > q.perTenant:
		return false
	}
	mine.requests = append(mine.requests, r)
	mine.size += cost
	q.size += cost
	return true
}

// next waits for a request; its tenant's next one comes after done. When ctx has
// ended, it returns what waits, and then nil.
func (q *turns) next(ctx context.Context) *request {
	for {
		if r := q.take(); r != nil {
			return r
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
			return q.take()
		}
	}
}

func (q *turns) take() *request {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.order) == 0 {
		return nil
	}
	tenant := q.order[0]
	q.order = q.order[1:]
	mine := q.waiting[tenant]
	r := mine.requests[0]
	mine.requests[0] = nil
	mine.requests = mine.requests[1:]
	if len(mine.requests) == 0 {
		delete(q.waiting, tenant)
	}
	mine.size -= q.cost(r)
	q.size -= q.cost(r)
	q.running[tenant] = true
	q.signal()
	return r
}

// done lets the tenant of a request that next returned take part again.
func (q *turns) done(r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	tenant := r.tenant()
	delete(q.running, tenant)
	if q.waiting[tenant] != nil {
		q.lineUp(tenant)
	}
}

func (q *turns) lineUp(tenant webhook.TenantID) {
	q.order = append(q.order, tenant)
	q.signal()
}

// signal wakes one of those who wait, who wakes the next one.
func (q *turns) signal() {
	if len(q.order) == 0 {
		return
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// len is how many submissions wait.
func (q *turns) len() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, mine := range q.waiting {
		n += len(mine.requests)
	}
	return n
}
