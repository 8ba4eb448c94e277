package sender_test

import (
	"context"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
)

const (
	// inFlight is how many requests meet the same receiver at once.
	inFlight = 32
	// memoryBudget is what each of them may take, the receiver's own memory included:
	// both live in this process.
	memoryBudget = 1 << 20
)

// Whatever a receiver sends, a request in flight takes less than 1 MiB: so a
// worker's memory is known from its concurrency.
//
//nolint:paralleltest // it measures the process: nothing else may run
func TestSend_memoryInFlight(t *testing.T) {
	// Garbage would hide what is held, and differ from run to run.
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	for _, b := range sendertest.Catalogue() {
		if strings.HasPrefix(b.Name, "status ") || b.Want.RetryAfter > 0 {
			continue // one of them stands for all
		}
		t.Run(b.Name, func(t *testing.T) {
			peak := peakMemory(t, b)
			t.Logf("%d KiB for each of %d requests", peak>>10, inFlight)
			if peak > memoryBudget {
				t.Errorf("each of %d requests in flight took %d KiB, want at most %d", inFlight, peak>>10, memoryBudget>>10)
			}
		})
	}
}

// peakMemory is what each request took when all together took most.
func peakMemory(t *testing.T, b sendertest.Behaviour) uint64 {
	t.Helper()
	together(t.Context(), &b)
	r := sendertest.New(t, b)
	s := newSender(t, sender.Config{Concurrency: inFlight})
	req := request(t, r.URL)
	req.Timeout = timeoutFor(b, 300*time.Millisecond)
	runtime.GC()
	before := memoryInUse()

	ctx, stop := context.WithCancel(t.Context())
	peak := make(chan uint64)
	go func() { peak <- watchMemory(ctx) }()
	var senders sync.WaitGroup
	for range inFlight {
		senders.Go(func() {
			if a, err := s.Send(context.Background(), req); err != nil || a.ErrorClass != b.Want.Class {
				t.Errorf("class %q (%s), error %v, want class %q", a.ErrorClass, a.Error, err, b.Want.Class)
			}
		})
	}
	senders.Wait()
	stop()
	return (max(<-peak, before) - before) / inFlight
}

// together has b answer when all requests have arrived, so that all are in flight.
func together(ctx context.Context, b *sendertest.Behaviour) {
	answer := b.Answer
	if answer == nil {
		return
	}
	var arrived atomic.Int32
	all := make(chan struct{})
	b.Answer = func(c *sendertest.Conn) {
		if arrived.Add(1) == inFlight {
			close(all)
		}
		select {
		case <-all:
			answer(c)
		case <-ctx.Done():
			c.Hangup()
		}
	}
}

func watchMemory(ctx context.Context) uint64 {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	most := memoryInUse()
	for {
		select {
		case <-tick.C:
			most = max(most, memoryInUse())
		case <-ctx.Done():
			return max(most, memoryInUse())
		}
	}
}

func memoryInUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
