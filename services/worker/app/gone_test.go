package app_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestWorker_410DisablesTheWebhookAndHoldsTheRest(t *testing.T) {
	t.Parallel()
	const window, events = 3, 30
	b := setup(t)
	id := b.webhook(nil)
	b.receiver.answer = func(*http.Request, int) int { return 410 }
	b.doorbell.RingFirst(b.accept(events))
	b.worker()
	b.await("disabled", `status = 'disabled' AND status_reason <> '' FROM webhooks WHERE id = $1`, id.UUID())
	b.await("what was in flight has failed, and the rest is held", `l.admitted = 0 AND l.queued > 0 AND l.queued =
		(SELECT count(*) FROM deliveries WHERE status = 'pending') FROM lanes l`)
	sent, _ := b.receiver.requests()
	if sent > window {
		t.Errorf("%d requests, want at most the window of %d", sent, window)
	}
	b.await("failed", `count(*) = $1 AND bool_and(failure_reason = 'receiver_gone') FROM deliveries WHERE status = 'failed'`, sent)
	b.doorbell.RingFirst(b.accept(2))
	b.await("held", `admitted = 0 AND queued = $1 FROM lanes`, events+2-sent)

	b.receiver.mu.Lock()
	b.receiver.answer = nil
	b.receiver.mu.Unlock()
	if _, err := b.hooks.Update(t.Context(), tenant, id, time.Now(), func(w webhook.Webhook) (webhook.Webhook, error) {
		w.Status, w.StatusReason = webhook.Active, ""
		return w, nil
	}); err != nil {
		t.Fatal(err)
	}
	b.await("the rest delivered after a resume", `count(*) = $1 FROM deliveries WHERE status = 'success'`, events+2-sent)
	if total, most := b.receiver.requests(); total != events+2 || most != 1 {
		t.Errorf("requests = %d, at most %d for one delivery, want %d and 1", total, most, events+2)
	}
}
