package deliver

import (
	"context"
	"sync"
)

// busyFrom is how many outcomes in one batch make a party busy: more than a few
// webhooks have in flight. Each statement costs as much as dozens of outcomes, so
// that many parties of the usual size are better recorded together.
const busyFrom = 64

// busy has the outcomes of those parties of a recorder that have many. They are
// recorded beside the others: a statement takes as long as it has outcomes, and
// keeps the lanes of all of them locked meanwhile, so that neither their next
// outcomes nor their next events can be written (I10).
type busy struct {
	mu      sync.Mutex
	waiting []settled
	parties map[party]int // outcomes that wait or are being recorded
	wake    chan struct{}
}

// leaveBusy hands the outcomes of busy parties over and returns the rest. A party
// stays busy until all that was handed over is dealt with: two statements of one
// party would wait for each other.
func (r *recorder) leaveBusy(batch []settled) []settled {
	r.busy.mu.Lock()
	defer r.busy.mu.Unlock()
	come := map[party]int{}
	for _, s := range batch {
		come[partyOf(s.Claim.Owed)]++
	}
	rest := batch[:0]
	for _, s := range batch {
		p := partyOf(s.Claim.Owed)
		if come[p] < busyFrom && r.busy.parties[p] == 0 {
			rest = append(rest, s)
			continue
		}
		r.busy.waiting = append(r.busy.waiting, s)
		r.busy.parties[p]++
	}
	if len(rest) < len(batch) {
		poke(r.busy.wake)
	}
	return rest
}

// runBusy records what is handed over until wake is closed.
func (r *recorder) runBusy(ctx context.Context) {
	for range r.busy.wake {
		for batch := r.takeBusy(); len(batch) > 0; batch = r.takeBusy() {
			r.write(ctx, r.join(append([]settled(nil), batch...)))
			r.doneBusy(batch)
		}
	}
}

func (r *recorder) takeBusy() []settled {
	r.busy.mu.Lock()
	defer r.busy.mu.Unlock()
	n := min(len(r.busy.waiting), maxRecord)
	batch := r.busy.waiting[:n:n]
	r.busy.waiting = r.busy.waiting[n:]
	return batch
}

func (r *recorder) doneBusy(batch []settled) {
	r.busy.mu.Lock()
	defer r.busy.mu.Unlock()
	for _, s := range batch {
		p := partyOf(s.Claim.Owed)
		if r.busy.parties[p]--; r.busy.parties[p] == 0 {
			delete(r.busy.parties, p)
		}
	}
}
