package accept

import (
	"context"
	"sync"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// turns is a queue of submissions that take long. Tenants take turns, and no
// tenant has two of them stored at once, nor more than a part of the queue: one
// that submits very much waits for itself.
type turns struct {
	limit, perTenant int

	mu      sync.Mutex
	size    int
	waiting map[webhook.TenantID][]*request
	// order has the tenants of waiting whose turn may come: not those in running.
	order   []webhook.TenantID
	running map[webhook.TenantID]bool
	wake    chan struct{} // holds a token while order is not empty
}

func newTurns(limit, perTenant int) *turns {
	return &turns{
		limit: limit, perTenant: perTenant,
		waiting: map[webhook.TenantID][]*request{}, running: map[webhook.TenantID]bool{}, wake: make(chan struct{}, 1),
	}
}

// put reports false when there is no room.
func (q *turns) put(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	tenant := r.tenant()
	mine := q.waiting[tenant]
	if q.size >= q.limit || len(mine) >= q.perTenant {
		return false
	}
	q.size++
	q.waiting[tenant] = append(mine, r)
	if len(mine) == 0 && !q.running[tenant] {
		q.line(tenant)
	}
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
	r := mine[0]
	mine[0] = nil
	if q.waiting[tenant] = mine[1:]; len(mine) == 1 {
		delete(q.waiting, tenant)
	}
	q.size--
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
	if len(q.waiting[tenant]) > 0 {
		q.line(tenant)
	}
}

func (q *turns) line(tenant webhook.TenantID) {
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

func (q *turns) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size
}
