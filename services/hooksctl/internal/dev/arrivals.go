package dev

import (
	"context"
	"sync"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/receiver"
)

// arrivals collects what the receiver got until the demonstration is over, and
// prints what comes after.
type arrivals struct {
	out *console.Console

	mu       sync.Mutex
	byEvent  map[string]receiver.Request // nil when the demonstration is over
	newcomer chan struct{}               // closed and replaced at each arrival
}

func newArrivals(out *console.Console) *arrivals {
	return &arrivals{out: out, byEvent: map[string]receiver.Request{}, newcomer: make(chan struct{})}
}

func (a *arrivals) add(r receiver.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byEvent == nil {
		a.out.Printf("%s", receiver.Line(a.out, r))
		return
	}
	a.byEvent[r.EventID] = r
	close(a.newcomer)
	a.newcomer = make(chan struct{})
}

// await returns the request that brought an event, which may have come before
// anybody knew the event's id.
func (a *arrivals) await(ctx context.Context, eventID string) (receiver.Request, error) {
	for {
		a.mu.Lock()
		r, ok := a.byEvent[eventID]
		newcomer := a.newcomer
		a.mu.Unlock()
		if ok {
			return r, nil
		}
		select {
		case <-newcomer:
		case <-ctx.Done():
			return receiver.Request{}, context.Cause(ctx)
		}
	}
}

// printFromNowOn ends the collecting.
func (a *arrivals) printFromNowOn() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.byEvent = nil
}
