package dispatch

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// progressEvery is how often a terminal is told how far it is.
const progressEvery = 200 * time.Millisecond

// load sends many copies of an event and stops at the first error.
func (cmd *Command) load(ctx context.Context, c *console.Console, client *apiclient.Client, event apiclient.Event) error {
	var (
		mu         sync.Mutex
		latencies  = make([]time.Duration, 0, cmd.Count)
		deliveries atomic.Int64
		done       atomic.Int64
	)
	started := time.Now()
	stop := showProgress(c, &done, cmd.Count)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(cmd.Concurrency)
	for i := 1; i <= cmd.Count && ctx.Err() == nil; i++ {
		g.Go(func() error {
			began := time.Now()
			accepted, err := client.Dispatch(ctx, cmd.numbered(event, i))
			if err != nil {
				return fmt.Errorf("event %d of %d: %w", i, cmd.Count, err)
			}
			took := time.Since(began)
			mu.Lock()
			latencies = append(latencies, took)
			mu.Unlock()
			deliveries.Add(int64(accepted.DeliveryCount))
			done.Add(1)
			return nil
		})
	}
	err := g.Wait()
	stop()
	took := time.Since(started)
	if n := len(latencies); n > 0 {
		c.Printf("%s  %d events, %d deliveries in %s: %.0f events/s, p50 %s, p99 %s", c.Good("accepted"), n, deliveries.Load(),
			took.Round(time.Millisecond), float64(n)/took.Seconds(), percentile(latencies, 0.50), percentile(latencies, 0.99))
	}
	return err
}

func (cmd *Command) numbered(event apiclient.Event, i int) apiclient.Event {
	if event.IdempotencyKey != "" {
		event.IdempotencyKey += "-" + strconv.Itoa(i)
	}
	return event
}

// percentile is the nearest-rank percentile; it sorts what it is given.
func percentile(latencies []time.Duration, p float64) time.Duration {
	slices.Sort(latencies)
	rank := int(math.Ceil(p * float64(len(latencies))))
	return latencies[max(rank, 1)-1].Round(10 * time.Microsecond)
}

// showProgress keeps one line of a terminal up to date until stop is called,
// which wipes it.
func showProgress(c *console.Console, done *atomic.Int64, total int) (stop func()) {
	if !c.Terminal {
		return func() {}
	}
	ended, wiped := make(chan struct{}), make(chan struct{})
	go func() { // stop waits for it
		defer close(wiped)
		ticker := time.NewTicker(progressEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_, _ = fmt.Fprintf(c, "\r%d of %d", done.Load(), total)
			case <-ended:
				_, _ = fmt.Fprint(c, "\r\x1b[K")
				return
			}
		}
	}()
	return func() { close(ended); <-wiped }
}
