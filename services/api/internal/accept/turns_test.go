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
	heavy   bool // it says that 100 webhooks want every event
}

func (d *doors) Fanouts(ctx context.Context, tenant webhook.TenantID, types []webhook.EventType) (map[webhook.EventType]int, error) {
	if d.heavy {
		return wantedByAll(types), nil
	}
	return d.Store.Fanouts(context.WithoutCancel(ctx), tenant, types) // ctx may be signalling that an event is queued
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

// Right after a start nothing is known of any type.
func TestAccepter_aParallelBatchSenderIsNotRefused(t *testing.T) {
	t.Parallel()
	const clients = 8
	for name, tc := range map[string]struct {
		events, webhooks int
		heavy            bool
	}{
		"100 events for one webhook":                {100, 1, false},
		"1,000 events for one webhook":              {1000, 1, false},
		"1,000 events for ten webhooks":             {1000, 10, false},
		"1,000 events for as many as there may be":  {1000, 0, true},
		"as few of these as are a large submission": {51, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := &doors{entered: make(chan webhook.TenantID, clients), pass: make(chan struct{}), heavy: tc.heavy}
			b := setup(t, func(s accept.Store) accept.Store { d.Store = s; return d })
			subscribe(t, b.db, "acme", tc.webhooks)
			queued, answers := newSignalling(t.Context(), clients), make(chan answer, clients)
			events := eventsOf(t, "acme", tc.events)
			for range clients {
				go func() { answers <- <-b.submit(queued, events) }()
			}
			var got []answer
			for waiting := 0; waiting+len(got) < clients; { // nothing large is stored before all wait
				select {
				case <-queued.waiting:
					waiting++
				case early := <-answers:
					got = append(got, early)
				}
			}
			close(d.pass)
			for len(got) < clients {
				got = append(got, <-answers)
			}
			for _, a := range got {
				if a.err != nil || len(a.events) != tc.events || a.events[0].Deliveries != tc.webhooks {
					t.Errorf("%d events, %v", len(a.events), a.err)
				}
			}
		})
	}
}

func TestI10_aFullQueueHasRoomForWhoHasNothingInIt(t *testing.T) {
	t.Parallel()
	const part = 8 // of the largest there are, one tenant may have waiting; half of the queue
	d := &doors{entered: make(chan webhook.TenantID, 3*part), pass: make(chan struct{}), heavy: true}
	b := setup(t, func(s accept.Store) accept.Store { d.Store = s; return d })
	gone, leave := context.WithCancel(t.Context())
	var answers []<-chan answer
	submit := func(tenant webhook.TenantID, events int) {
		t.Helper()
		queued := newSignalling(gone, 1)
		done := b.submit(queued, eventsOf(t, tenant, events))
		answers = append(answers, done)
		select {
		case <-queued.waiting:
		case got := <-done:
			t.Errorf("%s: %+v", tenant, got)
		}
	}
	submit("acme", 1000)
	<-d.entered // it waits no more
	for range part {
		submit("acme", 1000)
		submit("beta", 1000)
	}
	submit("late", largeCount)
	for _, tenant := range []webhook.TenantID{"acme", "beta", "late"} {
		if got := <-b.submit(t.Context(), eventsOf(t, tenant, largeCount)); !errors.Is(got.err, webhook.ErrUnavailable) {
			t.Errorf("one too many of %s: %+v, want unavailable", tenant, got)
		}
	}
	for _, want := range []webhook.TenantID{"beta", "late", "acme"} {
		d.pass <- struct{}{}
		if tenant := <-d.entered; tenant != want {
			t.Errorf("it was the turn of %s, want %s", tenant, want)
		}
	}
	leave()
	close(d.pass)
	for _, done := range answers {
		if got := <-done; got.err != nil && !errors.Is(got.err, webhook.ErrUnavailable) {
			t.Errorf("answer = %+v", got)
		}
	}
}
