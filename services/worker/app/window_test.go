package app_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// holding is a receiver's answer that keeps every request until it is let go,
// and counts how many there are at a time.
type holding struct {
	letGo chan struct{} // one request for each token; all when closed

	mu             sync.Mutex
	inFlight, most int
}

func (h *holding) answer(r *http.Request, _ int) int {
	h.count(1)
	defer h.count(-1)
	select {
	case <-h.letGo:
	case <-r.Context().Done():
	}
	return http.StatusOK
}

func (h *holding) count(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight += n
	h.most = max(h.most, h.inFlight)
}

func (h *holding) mostAtATime() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.most
}

// The window is one for all workers: no more requests than that are in flight
// at any time, and no fewer while something is owed, whoever has the slots.
func TestI10_workersShareTheWindowOfAWebhook(t *testing.T) {
	t.Parallel()
	const (
		workers = 3
		slots   = 3 // of each: none can fill the window alone, together they have more
		window  = 5
		events  = 25
	)
	b := setup(t)
	b.config.Concurrency, b.config.EndpointConcurrency = slots, window
	b.events = postgres.NewEvents(b.db, window)
	hanging := &holding{letGo: make(chan struct{})}
	b.receiver.answer = hanging.answer
	b.webhook(func(w *webhook.Webhook) { w.Policy.Timeout = 30 * time.Second })
	for range workers {
		b.worker()
	}
	for _, o := range b.accept(events) { // a bell for each, so that each worker may hear one
		b.doorbell.RingFirst([]webhook.Owed{o})
	}
	for range window {
		b.receiver.awaitRequest(t)
	}
	b.await("several workers have the window", `count(*) = $1 AND count(DISTINCT split_part(lease_holder, '/', 1)) > 1
		FROM pending_deliveries WHERE lease_until IS NOT NULL`, window)
	for range events - window {
		hanging.letGo <- struct{}{}
		b.receiver.awaitRequest(t) // used up again
	}
	close(hanging.letGo)
	b.await("all delivered", allSucceeded, events)
	if total, most := b.receiver.requests(); total != events || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want %d and 1", total, most, events)
	}
	if most := hanging.mostAtATime(); most != window {
		t.Errorf("%d requests in flight for one webhook, want its window of %d", most, window)
	}
}

// awaitRequest returns when another request has come.
func (r *receiver) awaitRequest(t *testing.T) {
	t.Helper()
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-r.came:
	case <-timer.C:
		t.Fatal("no further request came")
	}
}
