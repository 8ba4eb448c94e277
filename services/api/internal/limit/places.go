package limit

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// PlacesConfig says how much of each tenant may go on at once.
type PlacesConfig struct {
	// Tenant is how many places a tenant has.
	Tenant int
	// Queue is how many more things may wait for some, and Patience for how long.
	Queue    int
	Patience time.Duration
	// Aside is how many may have stepped aside.
	Aside int
}

// Places bounds what goes on at once for each tenant. What is too much waits for
// its turn, first come first served. It is safe for concurrent use; nil never
// makes anybody wait.
type Places struct {
	config PlacesConfig

	mu    sync.Mutex
	lines map[webhook.TenantID]*line
}

// line is a tenant that has places, or waits for some, or has stepped aside.
type line struct {
	taken, aside int
	waiting      []turn
}

// turn is somebody who waits for n places; come is closed when they are there.
type turn struct {
	n    int
	come chan struct{}
}

// NewPlaces makes places for any number of tenants.
func NewPlaces(config PlacesConfig) *Places {
	return &Places{config: config, lines: map[webhook.TenantID]*line{}}
}

// Place is leave for one thing to go on. Its methods are for one goroutine at a
// time; those of nil do nothing.
type Place struct {
	places *Places
	tenant webhook.TenantID
	n      int
	held   bool
	joined []*Place
}

// Take waits for n places, or for all that there are when n is more. They have to
// be left in the end. It returns false when too many wait, when there were none in
// time, or when ctx ended.
func (p *Places) Take(ctx context.Context, tenant webhook.TenantID, n int) (*Place, bool) {
	if p == nil {
		return nil, true
	}
	ctx, cancel := context.WithTimeout(ctx, p.config.Patience)
	defer cancel()
	place := &Place{places: p, tenant: tenant, n: min(n, p.config.Tenant)}
	return place, place.enter(ctx, false)
}

// Leave gives the place to whoever is next, and those that it was joined by. Doing
// so again does nothing.
func (l *Place) Leave() {
	if l == nil {
		return
	}
	for _, other := range l.joined {
		other.Leave()
	}
	if !l.held {
		return
	}
	l.places.mu.Lock()
	defer l.places.mu.Unlock()
	l.leave()
}

// Join waits for a place of another kind for the same tenant, which is left with
// this one. It returns false where Take does.
func (l *Place) Join(ctx context.Context, others *Places) bool {
	if l == nil {
		return true
	}
	other, ok := others.Take(ctx, l.tenant, 1)
	l.joined = append(l.joined, other)
	return ok
}

// StepAside gives the place up while f runs, which only waits for somebody else,
// and then waits for one again, before those who never had any. It returns false,
// and does not call f, when too many have stepped aside. When ctx ends there may
// be no place afterwards.
func (l *Place) StepAside(ctx context.Context, f func()) bool {
	if l == nil || !l.held {
		f()
		return true
	}
	if !l.goAside() {
		return false
	}
	defer l.comeBack(ctx)
	f()
	return true
}

func (l *Place) goAside() bool {
	l.places.mu.Lock()
	defer l.places.mu.Unlock()
	line := l.places.lines[l.tenant]
	if line.aside >= l.places.config.Aside {
		return false
	}
	line.aside++
	l.leave()
	return true
}

func (l *Place) comeBack(ctx context.Context) {
	l.enter(ctx, true)
	l.places.mu.Lock()
	defer l.places.mu.Unlock()
	l.places.lines[l.tenant].aside--
	l.places.forget(l.tenant)
}

// enter reports whether the place is held now.
func (l *Place) enter(ctx context.Context, first bool) bool {
	mine, ok := l.queue(first)
	if !ok {
		return false
	}
	select {
	case <-mine.come:
		l.held = true
	case <-ctx.Done():
		l.held = l.giveUp(mine)
	}
	return l.held
}

// queue returns false when too many wait.
func (l *Place) queue(first bool) (turn, bool) {
	p := l.places
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := turn{l.n, make(chan struct{})}
	in, ok := p.lines[l.tenant]
	if !ok {
		in = &line{}
		p.lines[l.tenant] = in
	}
	switch {
	case first:
		in.waiting = slices.Insert(in.waiting, 0, mine)
	case len(in.waiting) >= p.config.Queue && !in.admits(p.config.Tenant, mine):
		return mine, false
	default:
		in.waiting = append(in.waiting, mine)
	}
	in.admit(p.config.Tenant)
	return mine, true
}

// giveUp reports true when the turn came in that very moment.
func (l *Place) giveUp(mine turn) bool {
	p := l.places
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.lines[l.tenant]
	i := slices.Index(in.waiting, mine)
	if i < 0 {
		return true
	}
	in.waiting = slices.Delete(in.waiting, i, i+1)
	in.admit(p.config.Tenant) // who wanted less may have waited behind
	p.forget(l.tenant)
	return false
}

// leave is called with the lock.
func (l *Place) leave() {
	l.held = false
	in := l.places.lines[l.tenant]
	in.taken -= l.n
	in.admit(l.places.config.Tenant)
	l.places.forget(l.tenant)
}

func (p *Places) forget(tenant webhook.TenantID) {
	if in := p.lines[tenant]; in.taken == 0 && in.aside == 0 && len(in.waiting) == 0 {
		delete(p.lines, tenant)
	}
}

func (in *line) admits(all int, t turn) bool { return len(in.waiting) == 0 && in.taken+t.n <= all }

func (in *line) admit(all int) {
	for len(in.waiting) > 0 && in.taken+in.waiting[0].n <= all {
		in.taken += in.waiting[0].n
		close(in.waiting[0].come)
		in.waiting = slices.Delete(in.waiting, 0, 1)
	}
}

type placeKey struct{}

// WithPlace returns a context that leads to the place of what is done in it.
func WithPlace(ctx context.Context, place *Place) context.Context {
	return context.WithValue(ctx, placeKey{}, place)
}

// PlaceOf returns the place of what is done in ctx; nil when it needs none.
func PlaceOf(ctx context.Context) *Place {
	place, _ := ctx.Value(placeKey{}).(*Place)
	return place
}
