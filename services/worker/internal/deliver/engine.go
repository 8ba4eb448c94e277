package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Store is all that delivering needs from PostgreSQL.
type Store interface {
	Claim(ctx context.Context, ids []webhook.DeliveryID, holder string) ([]webhook.Claim, error)
	Release(ctx context.Context, claims []webhook.Claim) error
	Extend(ctx context.Context, claims []webhook.Claim) error
	ReleaseHeld(ctx context.Context, d webhook.Doubt) ([]webhook.Owed, error)
	Record(ctx context.Context, outcomes []webhook.Outcome, room webhook.Room) (webhook.Admission, error)
	Admit(ctx context.Context, hooks []webhook.WebhookID, room webhook.Room) (webhook.Admission, error)
	AdmitDue(ctx context.Context, ids []webhook.DeliveryID, room webhook.Room) (webhook.Admission, error)
}

// Sender makes one request. It returns an error only when ctx ended first.
type Sender interface {
	Send(ctx context.Context, r sender.Request) (webhook.Attempt, error)
}

// Doorbell rings for deliveries; it never blocks.
type Doorbell interface {
	Ring(owed []webhook.Owed)
	RingIn(q tasks.Queue, owed []webhook.Owed)
	RingOwn(o webhook.Owed, notBefore time.Time, lastError string, exhausted bool)
}

// Disabler stops those of the given webhooks whose receivers want no more, and
// returns them.
type Disabler interface {
	DisableGone(ctx context.Context, hooks []webhook.WebhookID) ([]webhook.WebhookID, error)
}

// Gate keeps bells from being fetched while it is shut; it never blocks.
type Gate interface {
	Shut()
	Open()
}

// idleShare of the slots must be free before a record calls for more deliveries
// than it hands on: a bell costs more than a slot that is free for a moment.
const idleShare = 8

// stopLimit is how long after the stop an Engine is given up on: the longest
// exchange may have begun just before it, and then is recorded. Only a PostgreSQL
// that does not answer takes longer.
const stopLimit = webhook.MaxTimeout + 4*time.Second

// Config is what an Engine needs; all fields are required.
type Config struct {
	Store    Store
	Sender   Sender
	Doorbell Doorbell
	Disabler Disabler
	Gate     Gate
	Log      *slog.Logger
	Registry prometheus.Registerer
	Worker   string // unique name of this process
	Slots    int    // requests in flight
	Now      func() time.Time
	Jitter   func() float64 // uniform in [0,1)
}

// Engine delivers. Make one with New, and Run it.
type Engine struct {
	cfg     Config
	metrics *metrics
	timers  *timers
	holders holders
	records [recorders]*recorder
	jobs    chan job

	mu       sync.Mutex
	slots    shares
	due      []*ticket // to be admitted first
	stopping time.Time // since when; zero: not
	deaf     bool      // PostgreSQL does not answer claims, the gate is shut
	toldDeaf bool      // the log says so
	tellDeaf rate.Sometimes
	wake     chan struct{} // there may be something to claim
	wakeDue  chan struct{} // there is something to admit

	unsettled sync.WaitGroup // claims that are neither released nor recorded
	givenUp   chan struct{}  // closed when nobody waits for them any more
}

// New checks the configuration and registers metrics.
func New(cfg Config) (*Engine, error) {
	if cfg.Store == nil || cfg.Sender == nil || cfg.Doorbell == nil || cfg.Disabler == nil || cfg.Gate == nil || cfg.Log == nil ||
		cfg.Registry == nil || cfg.Worker == "" || cfg.Slots < 1 || cfg.Now == nil || cfg.Jitter == nil {
		return nil, errors.New("deliver: every field of Config is required")
	}
	e := &Engine{
		cfg: cfg, slots: newShares(cfg.Slots), timers: newTimers(), holders: holders{worker: cfg.Worker},
		tellDeaf: rate.Sometimes{First: 1, Interval: tellEvery}, wake: make(chan struct{}, 1), wakeDue: make(chan struct{}, 1), jobs: make(chan job, cfg.Slots), givenUp: make(chan struct{}),
	}
	for i := range e.records {
		e.records[i] = newRecorder(e)
	}
	e.metrics = newMetrics(cfg.Registry, e.inFlight, e.waiting)
	return e, nil
}

// ticket is one delivery that a bell waits for.
type ticket struct {
	id    webhook.DeliveryID
	queue tasks.Queue
	party party
	// due means that the bell is a timer: the delivery may need admission first.
	due bool
	// own means that the bell lives on with the delivery.
	own   bool
	done  chan<- result // nil: the bell is answered already
	taken bool
}

// answer tells a ticket's bell, if there is one.
func (t *ticket) answer(r result) {
	if t != nil && t.done != nil {
		t.done <- r
	}
}

// result is what a bell learns of one of its deliveries.
type result struct {
	outcome *webhook.Outcome // nil: nothing to do for this bell
	err     error            // trouble: ring again
}

// settled is an outcome on its way into PostgreSQL.
type settled struct {
	webhook.Outcome
	ticket *ticket // nil: nobody waits
	bare   bool    // PostgreSQL refused its texts, they are gone
}

// job is a claim to be sent.
type job struct {
	claim  webhook.Claim
	ticket *ticket
}

// Run delivers until ctx ends, then turns waiting bells away, lets requests in
// flight finish, records them and returns. Exchanges are bounded by their
// webhooks' timeouts, and so is Run: what PostgreSQL has not recorded 34 s after the
// stop is left to whoever claims it when its lease ends, and that is an error.
func (e *Engine) Run(ctx context.Context) error {
	worked := make(chan struct{})
	go func() { // waited for below, for as long as there is a point in it
		defer close(worked)
		e.work(ctx)
	}()
	<-ctx.Done()
	e.stop()
	enough := time.NewTimer(stopLimit)
	defer enough.Stop()
	select {
	case <-worked:
		return nil
	case <-enough.C:
		close(e.givenUp)
		return fmt.Errorf("%d deliveries neither recorded nor released %s after the stop, their leases will end", e.claimed(), stopLimit)
	}
}

// work returns when ctx has ended and everything is settled.
func (e *Engine) work(ctx context.Context) {
	base := context.WithoutCancel(ctx)
	var recording sync.WaitGroup
	for _, r := range e.records {
		recording.Go(func() { r.run(base) })
	}
	var sending sync.WaitGroup
	for range e.cfg.Slots {
		sending.Go(e.sendAll) // requests outlive whoever claimed for them
	}
	var admitting sync.WaitGroup
	admitting.Go(func() { e.admitAllDue(ctx, base) })
	e.claimAll(ctx, base)
	admitting.Wait()
	e.unsettled.Wait()
	close(e.jobs)
	sending.Wait()
	for _, r := range e.records {
		close(r.in)
	}
	recording.Wait()
}

// Deliver sees to deliveries that a bell names, and returns when those that
// this worker could claim are recorded. Outcomes of the others are nil, also of
// those that have to wait until their tenant has slots again.
func (e *Engine) Deliver(ctx context.Context, b tasks.Bell) ([]*webhook.Outcome, error) {
	done := make(chan result, len(b.Deliveries))
	tickets := make([]*ticket, len(b.Deliveries))
	for i, id := range b.Deliveries {
		tickets[i] = &ticket{id: id, queue: b.Queue, party: party{b.TenantOf(i), b.Queue == tasks.Test}, due: b.Own, own: b.Own, done: done}
	}
	e.enqueue(tickets)
	var outcomes []*webhook.Outcome
	var trouble, stopping error
	for range tickets {
		select {
		case r := <-done:
			outcomes = append(outcomes, r.outcome)
			if errors.Is(r.err, tasks.ErrStopping) {
				stopping = r.err
				continue
			}
			trouble = errors.Join(trouble, r.err)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-e.givenUp:
			return nil, tasks.ErrStopping
		}
	}
	if trouble == nil { // otherwise the stop is the lesser part of it
		trouble = stopping
	}
	return outcomes, trouble
}

func (e *Engine) enqueue(tickets []*ticket) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopping.IsZero() {
		e.turnAway(tickets, tasks.ErrStopping)
		return
	}
	if e.deaf {
		e.turnAway(tickets, webhook.Unavailable(nil))
		return
	}
	for _, t := range tickets {
		e.slots.add(t)
	}
	poke(e.wake)
}

// poke wakes whoever listens; one token is enough.
func poke(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// take hands out waiting tickets with a slot each.
func (e *Engine) take(limit int) []*ticket {
	e.mu.Lock()
	defer e.mu.Unlock()
	batch := e.slots.take(limit)
	if len(batch) == 0 {
		e.slots.park()
	}
	return batch
}

// reserve takes slots for the next deliveries of tenants, as far as their shares
// allow and no ticket is waiting for them. A worker that stops has room for none,
// and calls the others for all.
func (e *Engine) reserve(wants perTenant, holder string) webhook.Room {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopping.IsZero() {
		return webhook.Room{Holder: holder, Ring: webhook.NoLimit}
	}
	lease, more := e.slots.reserve(wants)
	for _, r := range e.records {
		more -= len(r.in) // they are handed on, too
	}
	if more < e.cfg.Slots/idleShare {
		more = 0
	}
	return webhook.Room{Holder: holder, Lease: lease, Ring: more}
}

// settle turns slots that tickets hold, and reserved ones, into the slots of
// claims. There are never more claims than that.
func (e *Engine) settle(tickets []*ticket, reserved perTenant, claims []webhook.Claim) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range tickets {
		e.slots.claim(t.party, -1)
	}
	e.slots.restore(reserved)
	for _, c := range claims {
		e.slots.claim(partyOf(c.Owed), 1)
	}
	if len(tickets)+reserved.sum() > len(claims) {
		poke(e.wake)
	}
}

func (e *Engine) giveBack(p party) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.slots.hold(p, -1)
	poke(e.wake)
}

// dealtWith gives back the places of claims that are settled: released, recorded,
// or given up.
func (e *Engine) dealtWith(batch []settled) {
	e.mu.Lock()
	for _, s := range batch {
		e.slots.places.hold(partyOf(s.Claim.Owed), -1)
	}
	poke(e.wake)
	e.mu.Unlock()
	e.unsettled.Add(-len(batch))
}

// stop turns waiting tickets away and lets no new ones in.
func (e *Engine) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopping = e.cfg.Now()
	e.turnAwayAll(tasks.ErrStopping)
}

// turnAwayAll needs mu.
func (e *Engine) turnAwayAll(why error) {
	e.turnAway(append(e.slots.empty(), e.due...), why)
	e.due = nil
}

// turnAway has others rung for tickets. Their bells are done, but for those that
// live on with a delivery and come back by themselves, a little later: whichever is
// the second to come finds nothing to claim.
func (e *Engine) turnAway(tickets []*ticket, why error) {
	owed := map[tasks.Queue][]webhook.Owed{}
	for _, t := range tickets {
		var err error
		if t.own {
			err = why
		}
		t.answer(result{err: err})
		owed[t.queue] = append(owed[t.queue], webhook.Owed{Delivery: t.id, Tenant: t.party.tenant})
	}
	for queue, owed := range owed {
		e.cfg.Doorbell.RingIn(queue, owed)
	}
}

func (e *Engine) isStopping() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.stopping.IsZero()
}

// endsInTime reports whether a request made now would end while a stop waits for it.
func (e *Engine) endsInTime(timeout time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stopping.IsZero() || !e.cfg.Now().Add(timeout).After(e.stopping.Add(webhook.MaxTimeout))
}

// claimed counts what is not settled.
func (e *Engine) claimed() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return placesPerSlot*e.cfg.Slots - e.slots.places.free
}

func (e *Engine) inFlight() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return float64(e.cfg.Slots - e.slots.free)
}

func (e *Engine) waiting() float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return float64(e.slots.waiting())
}
