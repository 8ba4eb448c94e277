package deliver

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// disabler remembers whom it was asked to disable.
type disabler struct{ asked []webhook.WebhookID }

func (d *disabler) DisableGone(_ context.Context, hooks []webhook.WebhookID) ([]webhook.WebhookID, error) {
	d.asked = append(d.asked, hooks...)
	return hooks, nil
}

func TestEngine_onlyAnEventsDeliveryThatIsAnswered410DisablesItsWebhook(t *testing.T) {
	t.Parallel()
	asked := &disabler{}
	e, err := New(Config{
		Store: &slowCommit{}, Sender: &accepting{}, Doorbell: quiet{}, Disabler: asked, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Worker: "w", Slots: 4, Now: time.Now, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	var want []webhook.WebhookID
	var batch []settled
	for n, kind := range []webhook.DeliveryKind{webhook.KindEvent, webhook.KindTest} {
		c := claimOf(deliveryNumber(n))
		c.Kind, c.Webhook = kind, webhook.NewWebhookID(time.Now(), [10]byte{9: byte(n)})
		a := webhook.Attempt{Number: 1, ResponseStatus: 410, ErrorClass: webhook.ClassStatus, Error: "x"}
		batch = append(batch, settled{Outcome: webhook.Outcome{Claim: c, Attempt: a, Next: webhook.Decide(c.Policy, a, 1, 0)}})
		if kind == webhook.KindEvent {
			want = append(want, c.Webhook)
		}
	}
	e.conclude(t.Context(), batch, webhook.Admission{})
	if !slices.Equal(want, asked.asked) {
		t.Errorf("disabled %v, want %v", asked.asked, want)
	}
}
