package tasks

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestDoorbell_tellsWhatItMissed(t *testing.T) {
	t.Parallel()
	_, raw := connect(t)
	path, through := newGate(t, raw) // Redis is away
	d := NewDoorbell(NewRinger(connectTo(t, through)), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	runDoorbell(t, d)
	d.Ring(owed(3))
	receive(t, "word of a failed ring", d.Missed())
	if n := testutil.ToFloat64(d.failed); n != 3 {
		t.Errorf("failed = %v, want 3", n)
	}
	path.set(true)
	d.Ring(owed(2))
	eventually(t, "rung when Redis is back", func() bool { return testutil.ToFloat64(d.rung) == 2 })
	silent(t, d)
}

func TestDoorbell_tellsWhatItDropped(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	d := NewDoorbell(NewRinger(c), slog.New(slog.DiscardHandler), prometheus.NewRegistry()) // nobody runs it yet
	d.Ring(owed(maxUnrung))
	silent(t, d)
	for range 3 { // more than anybody listens to
		d.Ring(owed(1))
	}
	receive(t, "word of a full doorbell", d.Missed())
	silent(t, d)
	if n := testutil.ToFloat64(d.failed); n != 3 {
		t.Errorf("failed = %v, want 3", n)
	}
}

func TestDoorbell_finishesTheRingThatItsStopMeets(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	hook := &pausing{reached: make(chan struct{}), proceed: make(chan struct{})}
	c.AddHook(hook)
	d := NewDoorbell(NewRinger(c), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }() // waited for below
	d.Ring(owed(2))
	receive(t, "ring", hook.reached)
	cancel()
	close(hook.proceed)
	do(t, <-done)
	if rung, failed := testutil.ToFloat64(d.rung), testutil.ToFloat64(d.failed); rung != 2 || failed != 0 {
		t.Errorf("rung = %v, failed = %v, want 2 and 0", rung, failed)
	}
}

// pausing stops the first round trip until it may proceed.
type pausing struct {
	reached, proceed chan struct{}
	once             sync.Once
}

func (*pausing) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*pausing) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (p *pausing) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		p.once.Do(func() {
			close(p.reached)
			<-p.proceed
		})
		return next(ctx, commands)
	}
}

func silent(t *testing.T, d *Doorbell) {
	t.Helper()
	select {
	case <-d.Missed():
		t.Error("told of a ring that did not fail")
	default:
	}
}

func runDoorbell(t *testing.T, d *Doorbell) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }() // waited for at the end
	t.Cleanup(func() {
		cancel()
		do(t, <-done)
	})
}

func owed(n int) []webhook.Owed {
	all := make([]webhook.Owed, n)
	for i, id := range deliveries(n) {
		all[i] = webhook.Owed{Delivery: id, Tenant: "acme", EventType: "lead.created", Kind: webhook.KindEvent, Attempt: 1}
	}
	return all
}
