package accept_test

import (
	"context"
	"errors"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/accept"
)

const (
	// bulkyCount is more than goes with others.
	bulkyCount = 251
	// tenantsPart is how many of them one tenant may have waiting.
	tenantsPart = 64
)

// doors is a store whose large commits wait until they are let through.
type doors struct {
	accept.Store
	entered chan webhook.TenantID
	pass    chan struct{}
}

func (d *doors) AcceptLarge(ctx context.Context, s webhook.Submission) (webhook.Receipt, []webhook.Owed, error) {
	d.entered <- s.Events[0].Event.Tenant
	<-d.pass
	return d.Store.AcceptLarge(ctx, s)
}

func TestI10_aTenantThatSubmitsMuchWaitsForItself(t *testing.T) {
	t.Parallel()
	d := &doors{entered: make(chan webhook.TenantID, 10), pass: make(chan struct{})}
	b := setup(t, func(s accept.Store) accept.Store { d.Store = s; return d })
	for _, tenant := range []webhook.TenantID{"acme", "beta"} { // what they are owed is known now
		subscribe(t, b.db, tenant, 1)
		if got := <-b.submit(t.Context(), eventsOf(t, tenant, 1)); got.err != nil {
			t.Fatal(got.err)
		}
	}
	submit := func(tenant webhook.TenantID) <-chan answer {
		queued := newSignalling(t.Context(), 1)
		done := b.submit(queued, eventsOf(t, tenant, bulkyCount))
		queued.await(1)
		return done
	}
	answers := []<-chan answer{submit("acme"), submit("acme"), submit("acme"), submit("beta")}
	first, second := <-d.entered, <-d.entered
	if first != "acme" || second != "beta" {
		t.Errorf("%s and %s are stored at once, want one of each", first, second)
	}
	close(d.pass)
	for i, done := range answers {
		if got := <-done; got.err != nil || len(got.events) != bulkyCount {
			t.Errorf("submission %d: %d events, %v", i, len(got.events), got.err)
		}
	}
}

func TestI10_aTenantFillsOnlyAPartOfTheQueue(t *testing.T) {
	t.Parallel()
	d := &doors{entered: make(chan webhook.TenantID, 10+tenantsPart), pass: make(chan struct{})}
	b := setup(t, func(s accept.Store) accept.Store { d.Store = s; return d })
	if got := <-b.submit(t.Context(), eventsOf(t, "acme", 1)); got.err != nil { // nobody wants it
		t.Fatal(got.err)
	}
	gone, leave := context.WithCancel(t.Context())
	queued := newSignalling(gone, tenantsPart+1)
	var answers []<-chan answer
	for i := range tenantsPart + 1 {
		answers = append(answers, b.submit(queued, eventsOf(t, "acme", bulkyCount)))
		queued.await(1)
		if i == 0 {
			<-d.entered // it waits no more
		}
	}
	if got := <-b.submit(t.Context(), eventsOf(t, "acme", bulkyCount)); !errors.Is(got.err, webhook.ErrUnavailable) {
		t.Errorf("one too many: %+v, want unavailable", got)
	}
	other := newSignalling(t.Context(), 1)
	done := b.submit(other, eventsOf(t, "beta", bulkyCount))
	other.await(1)
	leave()
	for _, a := range answers {
		if got := <-a; !errors.Is(got.err, webhook.ErrUnavailable) {
			t.Errorf("a caller who is gone: %+v", got)
		}
	}
	close(d.pass)
	if got := <-done; got.err != nil || len(got.events) != bulkyCount {
		t.Errorf("another tenant: %d events, %v", len(got.events), got.err)
	}
}
