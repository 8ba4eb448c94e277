package app_test

import (
	"crypto/rand"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	fewSlots = 16
	// hogSlots is what one tenant gets of them.
	hogSlots = 12
	hogHooks = 8
	other    = webhook.TenantID("other")
)

// hog is a tenant whose webhooks, all of them, hang until they are let go, and
// who is owed more than its slots.
type hog struct {
	*bundle

	letGo    chan struct{}
	inFlight atomic.Int64
	most     atomic.Int64
}

func newHog(t *testing.T) *hog {
	t.Helper()
	h := &hog{bundle: setup(t), letGo: make(chan struct{})}
	h.config.Concurrency = fewSlots
	for range hogHooks {
		h.webhook(func(w *webhook.Webhook) { w.URL += "/hang"; w.Policy.Timeout = 30 * time.Second })
	}
	h.receiver.answer = func(r *http.Request, _ int) int {
		if r.URL.Path == "/hang" {
			h.most.Store(max(h.most.Load(), h.inFlight.Add(1)))
			defer h.inFlight.Add(-1)
			select {
			case <-h.letGo:
			case <-r.Context().Done():
			}
		}
		return 200
	}
	return h
}

// fill has the tenant take all the slots that it can get.
func (h *hog) fill(events int) {
	h.t.Helper()
	h.doorbell.RingFirst(h.accept(events))
	h.await("the hog has all that it may have", `count(*) = $1 FROM pending_deliveries WHERE lease_until IS NOT NULL`, hogSlots)
}

func TestI10_aTenantWhoseWebhooksAllHangLeavesSlotsForOthers(t *testing.T) {
	t.Parallel()
	h := newHog(t)
	defer close(h.letGo)
	h.worker()
	h.fill(5)
	healthy := h.webhook(func(w *webhook.Webhook) { w.Tenant = other })
	for n := range 20 {
		h.doorbell.RingFirst(h.acceptFor(other, 1))
		h.await("the other tenant's is delivered", `count(*) = $1 FROM deliveries WHERE webhook_id = $2 AND status = 'success'`, n+1, healthy.UUID())
	}
	if most := h.most.Load(); most > hogSlots {
		t.Errorf("the hog held %d of %d slots, want at most %d", most, fewSlots, hogSlots)
	}
}

func TestI10_aTestSendWaitsForNoHangingDelivery(t *testing.T) {
	t.Parallel()
	h := newHog(t)
	defer close(h.letGo)
	h.worker()
	h.fill(5)
	id := h.webhook(func(w *webhook.Webhook) { w.Patterns = []webhook.Pattern{pattern(t, "note.created")} })
	owed, _, err := postgres.NewTestSends(h.db).Ask(t.Context(), id, webhook.Event{
		ID: eventID(), Tenant: tenant, Type: webhook.TestEventType, Body: `{}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.doorbell.Ring([]webhook.Owed{owed})
	h.await("the test send has come", `status = 'success' FROM deliveries WHERE webhook_id = $1`, id.UUID())
}

func TestI10_whatWaitedForAShareIsDeliveredOnce(t *testing.T) {
	t.Parallel()
	h := newHog(t)
	h.worker()
	h.fill(5)
	h.doorbell.Ring(h.unclaimed()) // bells for what waits already
	close(h.letGo)
	h.await("all delivered", allSucceeded, 5*hogHooks)
	if total, most := h.receiver.requests(); total != 5*hogHooks || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want %d and 1", total, most, 5*hogHooks)
	}
}

func TestI9_whatWaitedForAShareGoesToAnotherWorker(t *testing.T) {
	t.Parallel()
	h := newHog(t)
	stop := h.worker()
	h.fill(3) // all admitted at once: more than the slots
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	h.config.Concurrency = 2 * hogHooks * 3 // room for all
	h.worker()
	h.await("another worker has what waited", `count(*) = $1 FROM pending_deliveries WHERE lease_until IS NOT NULL`, 3*hogHooks)
	close(h.letGo)
	<-stopped
	h.await("all delivered", allSucceeded, 3*hogHooks)
	if _, most := h.receiver.requests(); most != 1 {
		t.Errorf("at most %d requests for one delivery, want 1", most)
	}
}

// unclaimed lists what is admitted and not leased.
func (h *hog) unclaimed() []webhook.Owed {
	h.t.Helper()
	owed, err := postgres.NewRelay(h.db).Unclaimed(h.t.Context(), 0, false, 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return owed
}

func eventID() webhook.EventID {
	var random [10]byte
	_, _ = rand.Read(random[:])
	return webhook.NewEventID(time.Now(), random)
}

// acceptFor is accept for a tenant.
func (b *bundle) acceptFor(tenant webhook.TenantID, n int) []webhook.Owed {
	b.t.Helper()
	typ, err := webhook.ParseEventType("lead.created")
	if err != nil {
		b.t.Fatal(err)
	}
	var sub webhook.Submission
	for range n {
		sub.Events = append(sub.Events, webhook.SubmittedEvent{Event: webhook.Event{ID: eventID(), Tenant: tenant, Type: typ, Body: `{}`}})
	}
	_, owed, err := b.events.Accept(b.t.Context(), []webhook.Submission{sub})
	if err != nil {
		b.t.Fatal(err)
	}
	return owed
}
