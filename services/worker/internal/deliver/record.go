package deliver

import (
	"context"
	"errors"
	"slices"
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
	// patience is how long an outcome is kept for PostgreSQL beyond its lease.
	// While PostgreSQL is away nobody else can take the delivery either.
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

	mu    sync.Mutex
	lines map[webhook.WebhookID]*line
	busy  busy
}

// line is what one webhook waits to have recorded, apart from the others. It is
// guarded by its recorder's lock.
type line struct {
	waiting []settled
	// doubtful are names under which deliveries of this webhook may have been
	// leased by a statement whose answer was lost.
	doubtful []string
}

func newRecorder(e *Engine) *recorder {
	return &recorder{
		engine: e, in: make(chan settled, e.cfg.Slots), lines: map[webhook.WebhookID]*line{},
		busy: busy{parties: map[party]int{}, wake: make(chan struct{}, 1)},
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
	for _, part := range r.engine.split(batch) {
		holder := r.engine.holders.next()
		if err := r.engine.record(ctx, part, holder); err != nil {
			r.engine.cfg.Log.WarnContext(ctx, "outcomes not recorded yet, trying again for each webhook",
				obs.Count(len(part)), obs.Err(err))
			r.setApart(ctx, part, holder)
		}
	}
}

// split puts the outcomes of those who have all that they may have at present
// behind the others: one statement must not give to the ones what is reserved
// for the others. Mostly there is but one kind.
func (e *Engine) split(batch []settled) [][]settled {
	e.mu.Lock()
	defer e.mu.Unlock()
	var parts [2][]settled
	wants := map[party]int{}
	for _, s := range batch {
		p := partyOf(s.Claim.Owed)
		if !e.slots.mayTake(p) {
			parts[1] = append(parts[1], s)
			continue
		}
		parts[0] = append(parts[0], s)
		wants[p]++
	}
	if len(batch) > 0 && e.slots.spare(wants) == 0 { // there is nothing to give
		return [][]settled{batch}
	}
	return slices.DeleteFunc(parts[:], func(part []settled) bool { return len(part) == 0 })
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

// join puts outcomes of webhooks that have a line into it, and returns the rest.
func (r *recorder) join(batch []settled) []settled {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := batch[:0]
	for _, s := range batch {
		if l := r.lines[s.Claim.Webhook]; l != nil {
			l.waiting = append(l.waiting, s)
			continue
		}
		rest = append(rest, s)
	}
	return rest
}

// setApart makes a line for each webhook of a batch that was not recorded. A
// line ends before the last of its outcomes counts as settled, or soon after.
func (r *recorder) setApart(ctx context.Context, batch []settled, holder string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range batch {
		l := r.lines[s.Claim.Webhook]
		if l == nil {
			l = &line{}
			r.lines[s.Claim.Webhook] = l
			r.engine.unsettled.Add(1)
			go func() { // waited for by unsettled
				defer r.engine.unsettled.Done()
				r.drain(ctx, s.Claim.Webhook, l)
			}()
		}
		l.waiting = append(l.waiting, s)
		l.doubt(holder)
	}
}

// doubt notes a name, once: those of one webhook come one after the other.
func (l *line) doubt(holder string) {
	if n := len(l.doubtful); n == 0 || l.doubtful[n-1] != holder {
		l.doubtful = append(l.doubtful, holder)
	}
}

// drain records a line until nothing waits in it.
func (r *recorder) drain(ctx context.Context, hook webhook.WebhookID, l *line) {
	for {
		batch, doubtful := r.next(hook, l)
		if len(batch) == 0 {
			r.engine.clearDoubts(ctx, webhook.Doubt{Holders: doubtful, Webhooks: []webhook.WebhookID{hook}})
			return
		}
		r.insist(ctx, l, batch)
	}
}

// next takes what waits in a line, or ends the line and tells whom it left in doubt.
func (r *recorder) next(hook webhook.WebhookID, l *line) (batch []settled, doubtful []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(l.waiting), maxRecord)
	if n == 0 {
		delete(r.lines, hook)
		return nil, l.doubtful
	}
	batch = l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	return batch, nil
}

// insist records a batch of one webhook, and keeps trying while PostgreSQL is
// away: an outcome that is forgotten is a request repeated.
func (r *recorder) insist(ctx context.Context, l *line, batch []settled) {
	for backoff := minRecordBackoff; ; backoff = min(2*backoff, maxRecordBackoff) {
		holder := r.engine.holders.next()
		err := r.engine.record(ctx, batch, holder)
		switch {
		case err == nil:
			return
		case !errors.Is(err, webhook.ErrUnavailable):
			r.insistOnEach(ctx, l, batch, err)
			return
		case r.engine.hopeless(batch):
			r.engine.giveUp(ctx, batch, err)
			return
		}
		r.mu.Lock()
		l.doubt(holder)
		r.mu.Unlock()
		timer := time.NewTimer(backoff)
		<-timer.C
	}
}

// insistOnEach finds the outcome that PostgreSQL cannot take among its
// neighbours. Nothing a receiver answers should do that; should it happen, the
// outcome counts without its texts rather than not at all.
func (r *recorder) insistOnEach(ctx context.Context, l *line, batch []settled, cause error) {
	if len(batch) > 1 {
		for _, s := range batch {
			r.insist(ctx, l, []settled{s})
		}
		return
	}
	s := batch[0]
	if s.bare {
		r.engine.giveUp(ctx, batch, cause)
		return
	}
	r.engine.cfg.Log.ErrorContext(ctx, "outcome refused, recording it without the answer's texts",
		obs.Delivery(s.Claim.Delivery), obs.Attempt(s.Attempt.Number), obs.Err(cause))
	s.bare = true
	s.Attempt.ResponseHeaders, s.Attempt.ResponseBody = nil, ""
	if s.Attempt.ErrorClass != webhook.NoError {
		s.Attempt.Error = "unreadable"
	}
	r.insist(ctx, l, []settled{s})
}

// record commits a batch, with as many slots for the next deliveries as their
// parties' shares allow and nobody is waiting for, starts those, and goes on with
// what that set free.
func (e *Engine) record(ctx context.Context, batch []settled, holder string) error {
	outcomes, wants := make([]webhook.Outcome, len(batch)), map[party]int{}
	for i, s := range batch {
		outcomes[i] = s.Outcome
		wants[partyOf(s.Claim.Owed)]++
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
func (e *Engine) goOn(adm webhook.Admission, reserved int) {
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
