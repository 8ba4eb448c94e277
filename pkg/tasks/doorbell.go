package tasks

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// maxUnrung bounds what waits while Redis is slow or away; the relay rings
	// for what is dropped.
	maxUnrung = 50_000
	// ringTimeout bounds one round trip, so that a Redis that hangs does not
	// keep the doorbell from noticing that it is back.
	ringTimeout = 5 * time.Second
	// bellSize balances Redis' cost per delivery against spreading them.
	bellSize = 32
)

// Doorbell rings for deliveries behind its callers' backs: ringing never blocks
// and never fails for them. What it drops or cannot ring, the relay rings for
// later (I2), so nothing is lost with it; Missed tells a relay beside it.
type Doorbell struct {
	ringer  *Ringer
	log     *slog.Logger
	rung    prometheus.Counter
	failed  prometheus.Counter
	mu      sync.Mutex
	waiting []Bell
	size    int // deliveries in waiting
	wake    chan struct{}
	missed  chan struct{}
}

// NewDoorbell registers its counters; Run does the ringing.
func NewDoorbell(r *Ringer, log *slog.Logger, reg prometheus.Registerer) *Doorbell {
	d := &Doorbell{
		ringer: r, log: log, wake: make(chan struct{}, 1), missed: make(chan struct{}, 1),
		rung: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_rung_total", Help: "Deliveries that a task was enqueued for.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_ring_failures_total", Help: "Deliveries that no task could be enqueued for; the relay rings for them.",
		}),
	}
	reg.MustRegister(d.rung, d.failed)
	return d
}

// Missed tells, once for all that came together, that deliveries were not rung
// for. It has room for one word, so that nobody has to listen.
func (d *Doorbell) Missed() <-chan struct{} { return d.missed }

// RingFirst rings for deliveries that have just been accepted. One that comes
// alone in its queue gets a task of its own, which then stays its own.
func (d *Doorbell) RingFirst(owed []webhook.Owed) {
	bells := Pack(due(owed, ""), bellSize)
	for i := range bells {
		bells[i].Own = len(bells[i].Deliveries) == 1 && bells[i].Attempt == 1
	}
	d.add(bells)
}

// Ring rings for deliveries that may have been rung for before. Their tasks
// have no ids that Redis could already hold.
func (d *Doorbell) Ring(owed []webhook.Owed) { d.add(Pack(due(owed, ""), bellSize)) }

// RingReplay rings through the queue for replays.
func (d *Doorbell) RingReplay(owed []webhook.Owed) { d.RingIn(Bulk, owed) }

// RingIn rings through the queue that deliveries have been rung through before.
func (d *Doorbell) RingIn(q Queue, owed []webhook.Owed) { d.add(Pack(due(owed, q), bellSize)) }

// RingOwn gives a delivery a task of its own, that waits for its next attempt
// or shows that it is dead.
func (d *Doorbell) RingOwn(o webhook.Owed, notBefore time.Time, lastError string, exhausted bool) {
	d.add([]Bell{{
		Queue: QueueFor(o.Webhook), Tenant: o.Tenant, EventType: o.EventType, Deliveries: []webhook.DeliveryID{o.Delivery},
		Attempt: o.Attempt, NotBefore: notBefore, LastError: lastError, Exhausted: exhausted, Own: true,
	}})
}

func due(owed []webhook.Owed, queue Queue) []Due {
	out := make([]Due, len(owed))
	for i, o := range owed {
		q := queue
		switch {
		case q != "":
		case o.Kind == webhook.KindTest:
			q = Test
		default:
			q = QueueFor(o.Webhook)
		}
		out[i] = Due{Queue: q, Delivery: o.Delivery, Tenant: o.Tenant, EventType: o.EventType, Attempt: o.Attempt}
	}
	return out
}

func (d *Doorbell) add(bells []Bell) {
	n := 0
	for _, b := range bells {
		n += len(b.Deliveries)
	}
	if n == 0 {
		return
	}
	d.mu.Lock()
	full := d.size+n > maxUnrung
	if !full {
		d.waiting = append(d.waiting, bells...)
		d.size += n
	}
	d.mu.Unlock()
	if full {
		d.miss(n)
		return
	}
	say(d.wake)
}

func (d *Doorbell) miss(n int) {
	d.failed.Add(float64(n))
	say(d.missed)
}

// say leaves a word, unless there is one already.
func say(word chan<- struct{}) {
	select {
	case word <- struct{}{}:
	default:
	}
}

// Run rings until ctx ends and nothing waits any more. Whoever rings must have
// stopped before. The end of ctx breaks no ring off that has begun: it would be
// late by the time that the relay needs to find it.
func (d *Doorbell) Run(ctx context.Context) error {
	ringing := context.WithoutCancel(ctx)
	for {
		select {
		case <-d.wake:
			d.flush(ringing)
		case <-ctx.Done():
			d.flush(ringing)
			return nil
		}
	}
}

func (d *Doorbell) flush(ctx context.Context) {
	d.mu.Lock()
	bells, n := d.waiting, d.size
	d.waiting, d.size = nil, 0
	d.mu.Unlock()
	if n == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, ringTimeout)
	defer cancel()
	if err := d.ringer.Ring(ctx, bells); err != nil {
		d.miss(n)
		d.log.WarnContext(ctx, "deliveries not rung for, the relay will", "count", n, "error", err.Error())
		return
	}
	d.rung.Add(float64(n))
}
