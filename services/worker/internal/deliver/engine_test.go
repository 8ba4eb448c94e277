package deliver

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// slowCommit is a store whose first commit takes until it is let through, and
// then claims one delivery more.
type slowCommit struct {
	recording, proceed chan struct{}
	records            atomic.Int64
	next               webhook.Claim
}

func claimOf(id webhook.DeliveryID) webhook.Claim {
	return webhook.Claim{
		Owed: webhook.Owed{Delivery: id, Attempt: 1}, LastAttempt: 3, Holder: "h", ClaimedAt: time.Now(),
		Lease: 15 * time.Second, Policy: webhook.DefaultPolicy(),
	}
}

func (s *slowCommit) Claim(_ context.Context, ids []webhook.DeliveryID, _ string) (claims []webhook.Claim, _ error) {
	for _, id := range ids {
		claims = append(claims, claimOf(id))
	}
	return claims, nil
}

func (s *slowCommit) Record(_ context.Context, _ []webhook.Outcome, room webhook.Room) (a webhook.Admission, _ error) {
	if s.records.Add(1) == 1 {
		close(s.recording)
		<-s.proceed
		if len(room.Lease) > 0 {
			a.Claimed = []webhook.Claim{s.next}
		}
	}
	return a, nil
}

func (s *slowCommit) Release(context.Context, []webhook.Claim) error { return nil }

func (s *slowCommit) Extend(context.Context, []webhook.Claim) error { return nil }

func (s *slowCommit) ReleaseHeld(context.Context, webhook.Doubt) (owed []webhook.Owed, _ error) {
	return owed, nil
}

func (s *slowCommit) Admit(context.Context, []webhook.WebhookID, webhook.Room) (a webhook.Admission, _ error) {
	return a, nil
}

func (s *slowCommit) AdmitDue(context.Context, []webhook.DeliveryID, webhook.Room) (a webhook.Admission, _ error) {
	return a, nil
}

func (s *slowCommit) DisableGone(context.Context, []webhook.WebhookID) (disabled []webhook.WebhookID, _ error) {
	return disabled, nil
}

// quiet is a doorbell that nobody hears.
type quiet struct{}

func (quiet) Ring([]webhook.Owed)                           {}
func (quiet) RingIn(tasks.Queue, []webhook.Owed)            {}
func (quiet) RingOwn(webhook.Owed, time.Time, string, bool) {}

// accepting is a receiver that accepts everything.
type accepting struct{ sent atomic.Int64 }

func (s *accepting) Send(_ context.Context, r sender.Request) (webhook.Attempt, error) {
	s.sent.Add(1)
	return webhook.Attempt{Number: r.Attempt, ResponseStatus: 204}, nil
}

func TestI9_stopDuringACommitThatClaimsMoreRecordsThatToo(t *testing.T) {
	t.Parallel()
	id := func(n byte) webhook.DeliveryID {
		return webhook.DeliveryIDFor(webhook.NewEventID(time.Now(), [10]byte{n}), webhook.NewWebhookID(time.Now(), [10]byte{n}))
	}
	store := &slowCommit{recording: make(chan struct{}), proceed: make(chan struct{}), next: claimOf(id(2))}
	receiver := &accepting{}
	e, err := New(Config{
		Store: store, Sender: receiver, Doorbell: quiet{}, Disabler: store, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Worker: "w", Slots: 4, Now: time.Now, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	delivered := make(chan error, 1)
	go func() {
		_, err := e.Deliver(context.Background(), tasks.Bell{Deliveries: []webhook.DeliveryID{id(1)}})
		delivered <- err
	}()
	<-store.recording
	stop()
	for !e.isStopping() { // until the engine has noticed
		select {
		case err := <-ran:
			t.Fatalf("Run returned during a commit: %v", err)
		default:
		}
	}
	close(store.proceed)
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if err := <-delivered; err != nil {
		t.Error(err)
	}
	if sent, recorded := receiver.sent.Load(), store.records.Load(); sent != 2 || recorded != 2 {
		t.Errorf("%d requests made and %d recorded, want 2 and 2", sent, recorded)
	}
}
