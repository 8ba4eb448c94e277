package limit_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
)

func newPlaces() *limit.Places {
	return limit.NewPlaces(limit.PlacesConfig{Tenant: 2, Queue: 3, Patience: time.Second, Aside: 1})
}

// take fails the test when it is refused.
func take(t *testing.T, p *limit.Places, tenant string, n int) *limit.Place {
	t.Helper()
	place, ok := p.Take(t.Context(), webhook.TenantID(tenant), n)
	if !ok {
		t.Fatalf("%d of %s: refused", n, tenant)
	}
	return place
}

// TestPlaces_waitTheirTurn: who is too many waits, in order, and another tenant
// does not.
func TestPlaces_waitTheirTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces()
		first, second := take(t, p, "acme", 1), take(t, p, "acme", 1)
		got := make(chan int, 3)
		for i := range 3 {
			go func() { // ends when its turn has come
				place, ok := p.Take(t.Context(), "acme", 1)
				if !ok {
					t.Errorf("%d was refused", i)
				}
				got <- i
				place.Leave()
			}()
			synctest.Wait()
		}
		if _, ok := p.Take(t.Context(), "acme", 1); ok || len(got) > 0 {
			t.Errorf("a fourth one waits, or somebody does not: %d have places", len(got))
		}
		take(t, p, "globex", 2).Leave()
		first.Leave()
		first.Leave()
		synctest.Wait()
		for want := range 3 {
			if i := <-got; i != want {
				t.Errorf("%d came before %d", i, want)
			}
		}
		second.Leave()
		if n := p.Tenants(); n != 0 {
			t.Errorf("%d tenants are remembered", n)
		}
	})
}

// TestPlaces_patience: who waited in vain, or has gone, keeps nobody waiting.
func TestPlaces_patience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces()
		holder := take(t, p, "acme", 2)
		started := time.Now()
		if _, ok := p.Take(t.Context(), "acme", 1); ok || time.Since(started) != time.Second {
			t.Errorf("got a place: %v, after %s, want to be refused after 1s", ok, time.Since(started))
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, ok := p.Take(gone, "acme", 1); ok {
			t.Error("a place for somebody who has gone")
		}
		holder.Leave()
		take(t, p, "acme", 2).Leave()
		if n := p.Tenants(); n != 0 {
			t.Errorf("%d tenants are remembered", n)
		}
	})
}

// TestPlaces_several: who wants more waits until there is as much, nobody passes
// by, and more than there is counts as all of it.
func TestPlaces_several(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces()
		one := take(t, p, "acme", 1)
		large := make(chan *limit.Place, 1)
		go func() { // ends when the place is left
			place, _ := p.Take(t.Context(), "acme", 100)
			large <- place
		}()
		synctest.Wait()
		small := make(chan *limit.Place, 1)
		go func() { // likewise
			place, _ := p.Take(t.Context(), "acme", 1)
			small <- place
		}()
		synctest.Wait()
		if len(large)+len(small) > 0 {
			t.Fatal("somebody has a place that is not free, or passed by")
		}
		one.Leave()
		place := <-large
		synctest.Wait()
		if len(small) > 0 {
			t.Error("two have one place")
		}
		place.Leave()
		(<-small).Leave()
	})
}

// TestPlaces_aSmallOneBehindALargeOneThatLeaves: the small one's turn comes then.
func TestPlaces_aSmallOneBehindALargeOneThatLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces()
		one := take(t, p, "acme", 1)
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, _ = p.Take(ctx, "acme", 2) }() // ends with ctx
		synctest.Wait()
		small := make(chan *limit.Place, 1)
		go func() { // ends when its turn has come
			place, _ := p.Take(t.Context(), "acme", 1)
			small <- place
		}()
		synctest.Wait()
		leave()
		(<-small).Leave()
		one.Leave()
	})
}

// TestPlaces_stepAside: who waits for others has no place meanwhile, comes before
// those who wait for their first one, and is one of few.
func TestPlaces_stepAside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces()
		aside, other := take(t, p, "acme", 1), take(t, p, "acme", 1)
		order := make(chan string, 2)
		arrived := make(chan struct{})
		go func() { // ends when it has its place back
			if !aside.StepAside(t.Context(), func() { <-arrived }) {
				t.Error("could not step aside")
			}
			order <- "back"
		}()
		synctest.Wait()
		third := take(t, p, "acme", 1) // there is a place now
		if third.StepAside(t.Context(), func() { t.Error("called") }) {
			t.Error("two are aside")
		}
		go func() { // ends when its turn has come
			place, _ := p.Take(t.Context(), "acme", 1)
			order <- "new"
			place.Leave()
		}()
		synctest.Wait()
		close(arrived)
		synctest.Wait()
		other.Leave()
		if first := <-order; first != "back" {
			t.Errorf("%s came first", first)
		}
		aside.Leave()
		<-order
		third.Leave()
		if n := p.Tenants(); n != 0 {
			t.Errorf("%d tenants are remembered", n)
		}
	})
}

func TestPlaces_stepAsideUntilItIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces()
		aside := take(t, p, "acme", 2)
		ctx, end := context.WithCancel(t.Context())
		var others *limit.Place
		if !aside.StepAside(ctx, func() { others = take(t, p, "acme", 2); end() }) {
			t.Error("could not step aside")
		}
		aside.Leave() // has none
		others.Leave()
		if n := p.Tenants(); n != 0 {
			t.Errorf("%d tenants are remembered", n)
		}
	})
}

func TestPlaces_nilIsRoomForAll(t *testing.T) {
	t.Parallel()
	var none *limit.Places
	place := take(t, none, "acme", 1_000_000)
	called := false
	if !place.StepAside(t.Context(), func() { called = true }) || !called {
		t.Error("nothing was called")
	}
	place.Leave()
	if limit.PlaceOf(t.Context()) != nil || limit.PlaceOf(limit.WithPlace(t.Context(), place)) != nil {
		t.Error("there is a place")
	}
}
