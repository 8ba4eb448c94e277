package deliver

import (
	"context"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// lockedLane is a store where admitting one delivery takes until it is let
// through, because somebody has its lane locked.
type lockedLane struct {
	slowCommit

	id       webhook.DeliveryID
	admitted chan struct{}
}

func (s *lockedLane) Claim(_ context.Context, ids []webhook.DeliveryID, _ string) (claims []webhook.Claim, _ error) {
	for _, id := range ids {
		if id != s.id {
			claims = append(claims, claimOf(id))
		}
	}
	return claims, nil
}

func (s *lockedLane) AdmitDue(context.Context, []webhook.DeliveryID, webhook.Room) (webhook.Admission, error) {
	close(s.admitted)
	<-s.proceed
	return webhook.Admission{Claimed: []webhook.Claim{claimOf(s.id)}}, nil
}

func (s *lockedLane) Record(context.Context, []webhook.Outcome, webhook.Room) (a webhook.Admission, _ error) {
	return a, nil
}

func TestI10_aTimerThatWaitsForALockedLaneKeepsNobodyFromClaiming(t *testing.T) {
	t.Parallel()
	store := &lockedLane{slowCommit: slowCommit{proceed: make(chan struct{})}, id: deliveryID(1), admitted: make(chan struct{})}
	e := run(t, store, quiet{})
	delivered := make(chan error, 1)
	go func() {
		outcomes, err := e.Deliver(context.Background(), tasks.Bell{Deliveries: []webhook.DeliveryID{store.id}, Own: true})
		if err == nil && outcomes[0] == nil {
			t.Error("the one that waited for its lane has no outcome")
		}
		delivered <- err
	}()
	<-store.admitted
	outcomes, err := e.Deliver(t.Context(), tasks.Bell{Deliveries: []webhook.DeliveryID{deliveryID(2)}})
	if err != nil || outcomes[0] == nil {
		t.Errorf("the other one: %v, %v", outcomes, err)
	}
	close(store.proceed)
	if err := <-delivered; err != nil {
		t.Error(err)
	}
}
