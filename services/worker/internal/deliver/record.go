package deliver

import (
	"context"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// recorders is how many statements record at once. Two keep the server busy
	// while one commits; each more makes batches smaller for nothing.
	recorders = 2
	// maxRecord bounds one statement.
	maxRecord = 500
	// linger is how long a batch waits for company while other requests are in
	// flight: a commit costs the same for one outcome as for a hundred.
	linger = 4 * time.Millisecond

	minRecordBackoff = 50 * time.Millisecond
	maxRecordBackoff = time.Second
	// patience is how long an outcome is kept for PostgreSQL beyond its claim's lease.
	// While PostgreSQL is away nobody else can take the delivery either, and while it
	// only cannot record, the lease is extended.
	patience = 10 * time.Minute
)

// recorder records the outcomes of its share of the webhooks, so that no two
// recorders of a process wait for each other's lanes.
//
// What cannot be recorded at once is set apart, a line for each webhook, and
// tried again there: a lane that somebody holds locked delays its own webhook.
type recorder struct {
	engine *Engine
	in     chan settled

	mu       sync.Mutex
	lines    map[webhook.WebhookID]*line
	retrying chan struct{} // as many as lines are at it
	busy     busy
}

func newRecorder(e *Engine) *recorder {
	return &recorder{
		engine: e, in: make(chan settled, e.cfg.Slots), lines: map[webhook.WebhookID]*line{},
		retrying: make(chan struct{}, retriers),
		busy:     busy{parties: map[party]int{}, wake: make(chan struct{}, 1)},
	}
}

// run records until in is closed.
func (r *recorder) run(ctx context.Context) {
	var writing sync.WaitGroup
	writing.Go(func() { r.runBusy(ctx) })
	for first := range r.in {
		batch := r.gather(first)
		r.engine.metrics.batch.Observe(float64(len(batch)))
		r.write(ctx, r.leaveBusy(r.join(batch)))
	}
	close(r.busy.wake)
	writing.Wait()
}

// write records a batch, and sets apart what it cannot record.
func (r *recorder) write(ctx context.Context, batch []settled) {
	if len(batch) == 0 {
		return
	}
	holder := r.engine.holders.next()
	if err := r.engine.record(ctx, batch, holder); err != nil {
		r.engine.cfg.Log.WarnContext(ctx, "outcomes not recorded yet, trying again for each webhook",
			obs.Count(len(batch)), obs.Err(err))
		r.setApart(ctx, batch, holder)
	}
}

// gather collects what has come, and waits a little for more when more is to
// be expected.
func (r *recorder) gather(first settled) []settled {
	batch := []settled{first}
	timer := time.NewTimer(linger)
	defer timer.Stop()
	for len(batch) < maxRecord {
		select {
		case s, ok := <-r.in:
			if !ok {
				return batch
			}
			batch = append(batch, s)
			continue
		default:
		}
		if r.engine.inFlight() == 0 {
			return batch
		}
		select {
		case s, ok := <-r.in:
			if !ok {
				return batch
			}
			batch = append(batch, s)
		case <-timer.C:
			return batch
		}
	}
	return batch
}

// record commits a batch, with as many slots for the next deliveries as their
// tenants' shares allow and nobody is waiting for, starts those, and goes on with
// what that set free.
func (e *Engine) record(ctx context.Context, batch []settled, holder string) error {
	outcomes, wants := make([]webhook.Outcome, len(batch)), perTenant{}
	for i, s := range batch {
		outcomes[i] = s.Outcome
		wants[s.Claim.Tenant]++
	}
	room := e.reserve(wants, holder)
	committing, cancel := context.WithTimeout(ctx, storeTimeout)
	adm, err := e.cfg.Store.Record(committing, outcomes, room)
	cancel()
	e.goOn(adm, room.Lease)
	if err == nil {
		e.conclude(ctx, batch, adm)
		e.dealtWith(batch)
	}
	return err
}

// goOn starts what was claimed into reserved slots and rings for the rest.
func (e *Engine) goOn(adm webhook.Admission, reserved perTenant) {
	e.settle(nil, reserved, adm.Claimed)
	for _, c := range adm.Claimed {
		e.start(c, nil)
	}
	e.cfg.Doorbell.Ring(adm.Rung)
	e.metrics.chained.Add(float64(len(adm.Claimed)))
}

// hopeless reports whether a batch need not be kept any longer: its leases are
// over, and so is the time of this process, or all patience.
func (e *Engine) hopeless(batch []settled) bool {
	spare := patience
	if e.isStopping() {
		spare = 0
	}
	now := e.cfg.Now()
	for _, s := range batch {
		if now.Sub(s.Claim.ClaimedAt) < s.Claim.Lease+spare {
			return false
		}
	}
	return true
}

// giveUp leaves deliveries to whoever claims them when their leases end.
func (e *Engine) giveUp(ctx context.Context, batch []settled, err error) {
	for _, s := range batch {
		e.cfg.Log.ErrorContext(ctx, "outcome not recorded, the attempt will be repeated",
			obs.Delivery(s.Claim.Delivery), obs.Attempt(s.Attempt.Number), obs.Err(err))
		s.ticket.answer(result{err: err})
	}
	e.metrics.lost.Add(float64(len(batch)))
	e.dealtWith(batch)
}

// clearDoubts gives up the leases that statements with lost answers may have
// taken, and rings for them. When PostgreSQL does not come back, they end.
func (e *Engine) clearDoubts(ctx context.Context, d webhook.Doubt) {
	started := e.cfg.Now()
	for backoff := minRecordBackoff; len(d.Holders) > 0; backoff = min(2*backoff, maxRecordBackoff) {
		clearing, cancel := context.WithTimeout(ctx, storeTimeout)
		owed, err := e.cfg.Store.ReleaseHeld(clearing, d)
		cancel()
		if err == nil {
			e.cfg.Doorbell.Ring(owed)
			return
		}
		if e.isStopping() || e.cfg.Now().Sub(started) > webhook.MaxTimeout {
			e.cfg.Log.WarnContext(ctx, "leases in doubt not released, they will end", obs.Err(err))
			return
		}
		timer := time.NewTimer(backoff)
		<-timer.C
	}
}
