package app_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// busyReceiver answers 429 with a Retry-After until it is told to be ready.
type busyReceiver struct {
	*httptest.Server
	mu       sync.Mutex
	ready    bool
	refused  int
	requests []time.Time
}

func newBusyReceiver(t testing.TB, retryAfter string) *busyReceiver {
	r := &busyReceiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requests = append(r.requests, time.Now())
		if !r.ready {
			r.refused++
			w.Header().Set("Retry-After", retryAfter)
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func TestI10_aReceiverThatAsksForSilenceGetsIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := newBusyReceiver(t, "4")
	b.webhook(func(w *webhook.Webhook) { w.URL, w.Policy.MaxAttempts = r.URL, 2 })
	b.worker()
	b.doorbell.RingFirst(b.accept(20))
	// Up to three requests were under way together.
	b.await("the lane is quiet", `coalesce(quiet_until > now(), false) AND NOT EXISTS (SELECT FROM pending_deliveries WHERE lease_until IS NOT NULL) FROM lanes`)
	var until time.Time
	if err := b.db.GetContext(t.Context(), &until, `SELECT quiet_until FROM lanes`); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	r.ready = true
	early, refused := len(r.requests), r.refused
	r.mu.Unlock()
	b.await("all delivered", allSucceeded, 20)
	b.await("no attempt is lost by waiting", `count(*) = $1 FROM attempts`, 20+refused)
	if refused != early || refused > 3 {
		t.Errorf("%d requests before it was quiet, %d refused, want at most 3", early, refused)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if next := r.requests[early]; next.Before(until) || next.Sub(until) > 5*time.Second {
		t.Errorf("went on %s after the end of the quiet, want at once", next.Sub(until))
	}
}

func TestWorker_tellsOtherWebhooksHowOneFares(t *testing.T) {
	t.Parallel()
	b := setup(t)
	answer := map[string]int{"/ear": http.StatusOK, "/broken": http.StatusInternalServerError}
	b.receiver.answer = func(r *http.Request, _ int) int {
		b.receiver.mu.Lock()
		defer b.receiver.mu.Unlock()
		return answer[r.URL.Path]
	}
	ear := b.webhook(func(w *webhook.Webhook) {
		w.URL, w.Patterns = b.receiver.URL+"/ear", []webhook.Pattern{pattern(t, "webhook.*"), pattern(t, "delivery.*")}
	})
	b.webhook(func(w *webhook.Webhook) {
		w.URL, w.Policy.MaxAttempts = b.receiver.URL+"/broken", 1
		w.Patterns = []webhook.Pattern{pattern(t, "lead.*"), pattern(t, "webhook.*"), pattern(t, "delivery.*")}
	})
	b.worker()
	for _, step := range []struct {
		status int
		want   string
	}{
		{http.StatusInternalServerError, `{delivery.exhausted,webhook.failing}`},
		{http.StatusOK, `{delivery.exhausted,webhook.failing,webhook.recovered}`},
		{http.StatusGone, `{delivery.exhausted,webhook.disabled,webhook.failing,webhook.recovered}`},
	} {
		b.receiver.mu.Lock()
		answer["/broken"] = step.status
		b.receiver.mu.Unlock()
		b.doorbell.RingFirst(b.accept(1))
		b.await(step.want, `coalesce(array_agg(event_type ORDER BY event_type) = $2::text[] AND bool_and(status = 'success'), false)
			FROM deliveries WHERE webhook_id = $1`, ear.UUID(), step.want)
	}
	b.await("nobody hears about itself", `count(*) = 3 FROM deliveries WHERE webhook_id <> $1`, ear.UUID())
}
