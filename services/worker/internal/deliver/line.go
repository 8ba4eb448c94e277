package deliver

import (
	"context"
	"errors"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// retriers is how many lines of a recorder may ask PostgreSQL at once. When
	// nobody can record, each of them keeps a connection until its lock timeout, and
	// claims, and those who keep leases, need some, too.
	retriers = 4
	// keepEvery is how often leases are extended for those who wait for their turn:
	// several times in what a lease lasts beyond its request.
	keepEvery = 3 * time.Second
)

// line is what one webhook waits to have recorded, apart from the others. It is
// guarded by its recorder's lock.
type line struct {
	// waiting begins with what is being recorded.
	waiting []settled
	// doubtful are names under which deliveries of this webhook may have been
	// leased by a statement whose answer was lost.
	doubtful []string
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
	for done := 0; ; {
		batch, doubtful := r.next(hook, l, done)
		if len(batch) == 0 {
			r.engine.clearDoubts(ctx, webhook.Doubt{Holders: doubtful, Webhooks: []webhook.WebhookID{hook}})
			return
		}
		r.insist(ctx, l, batch)
		done = len(batch)
	}
}

// next returns what comes after the first ones of a line, which are done, or ends
// the line and tells whom it left in doubt.
func (r *recorder) next(hook webhook.WebhookID, l *line, done int) (batch []settled, doubtful []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l.waiting = l.waiting[done:]
	n := min(len(l.waiting), maxRecord)
	if n == 0 {
		delete(r.lines, hook)
		return nil, l.doubtful
	}
	return l.waiting[:n:n], nil
}

// insist records a batch of one webhook, and keeps trying while PostgreSQL is
// away: an outcome that is forgotten is a request repeated.
func (r *recorder) insist(ctx context.Context, l *line, batch []settled) {
	for backoff := minRecordBackoff; ; backoff = min(2*backoff, maxRecordBackoff) {
		r.awaitTurn(ctx, l)
		holder := r.engine.holders.next()
		err := r.engine.record(ctx, batch, holder)
		<-r.retrying
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

// awaitTurn returns with a place among the retriers. What is in the line has been
// sent, and somebody may be able to claim while nobody can record: until it has its
// turn, the line keeps its leases.
func (r *recorder) awaitTurn(ctx context.Context, l *line) {
	for {
		r.keep(ctx, l)
		timer := time.NewTimer(keepEvery)
		select {
		case r.retrying <- struct{}{}:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// keep extends the leases of a line. Where PostgreSQL does not do that, nobody can
// claim either.
func (r *recorder) keep(ctx context.Context, l *line) {
	r.mu.Lock()
	claims := make([]webhook.Claim, len(l.waiting))
	for i, s := range l.waiting {
		claims[i] = s.Claim
	}
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	if err := r.engine.cfg.Store.Extend(ctx, claims); err != nil {
		r.engine.cfg.Log.DebugContext(ctx, "leases not extended", obs.Count(len(claims)), obs.Err(err))
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
