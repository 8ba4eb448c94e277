package deliver

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// slowFor is a store whose records of one tenant take until they are let through.
type slowFor struct {
	slowCommit

	tenant   webhook.TenantID
	entered  chan struct{}
	recorded chan webhook.TenantID
}

func (s *slowFor) Record(_ context.Context, outcomes []webhook.Outcome, _ webhook.Room) (a webhook.Admission, _ error) {
	if outcomes[0].Claim.Tenant == s.tenant {
		s.entered <- struct{}{}
		<-s.proceed
	}
	for _, o := range outcomes {
		s.recorded <- o.Claim.Tenant
	}
	return a, nil
}

func TestI10_recordingATenantsManyOutcomesKeepsNobodyElsesWaiting(t *testing.T) {
	t.Parallel()
	const many = busyFrom + 4
	store := &slowFor{
		slowCommit: slowCommit{proceed: make(chan struct{})},
		tenant:     "busy", entered: make(chan struct{}, many), recorded: make(chan webhook.TenantID, 2*many),
	}
	e, err := New(Config{
		Store: store, Sender: &accepting{}, Doorbell: quiet{}, Disabler: store, Gate: tasks.NewGate(), Log: slog.New(slog.DiscardHandler),
		Registry: prometheus.NewRegistry(), Worker: "w", Slots: 2 * many, Now: time.Now, Jitter: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	outcome := func(tenant webhook.TenantID, n byte) settled {
		c := claimOf(deliveryID(n))
		c.Tenant = tenant
		return settled{Outcome: webhook.Outcome{Claim: c, Next: webhook.Next{Status: webhook.Succeeded}}}
	}
	e.unsettled.Add(many + 3)
	r := newRecorder(e)
	for n := range many {
		r.in <- outcome("busy", byte(n))
	}
	ran := make(chan struct{})
	go func() { defer close(ran); r.run(t.Context()) }()
	<-store.entered
	r.in <- outcome("busy", many+1) // must not be in the others' way
	for n := range 2 {
		r.in <- outcome("healthy", byte(n))
		if tenant := <-store.recorded; tenant != "healthy" {
			t.Errorf("%s is recorded", tenant)
		}
	}
	close(store.proceed)
	e.unsettled.Wait()
	close(r.in)
	<-ran
	if n := len(store.recorded); n != many+1 {
		t.Errorf("%d outcomes of the busy one are recorded, want %d", n, many+1)
	}
	if len(r.busy.parties) != 0 {
		t.Errorf("still busy: %v", r.busy.parties)
	}
}
