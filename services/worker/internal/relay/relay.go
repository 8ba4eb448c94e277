// Package relay turns "due in PostgreSQL" into "rung in Redis", whatever was
// rung before (I2). It is what makes Redis a doorbell and nothing more: emptied,
// restarted or replaced, it costs seconds, not deliveries.
//
// One worker at a time is the relay, by an advisory lock, and only one that
// reaches Redis: who cannot ring leaves it to the others after five seconds, and
// where nobody can, whoever can first is the relay a second later. Two at once
// would be harmless: a ring too many finds nothing to claim.
//
// What takes no ringing, keeping lanes in order, is the duty of a Keeper, which
// needs PostgreSQL only and is led apart from the relay.
package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Store finds what nobody is coming for.
type Store interface {
	Unclaimed(ctx context.Context, grace time.Duration, patiently bool, limit int) ([]webhook.Owed, error)
	WithRoom(ctx context.Context, window int, grace time.Duration, after webhook.WebhookID, limit int) ([]webhook.WebhookID, error)
	WithNotices(ctx context.Context, after webhook.TenantID, limit int) ([]webhook.TenantID, error)
	Announce(ctx context.Context, tenant webhook.TenantID, window, limit int) (announced int, owed []webhook.Owed, err error)
}

// Admitter fills free slots.
type Admitter interface {
	Admit(ctx context.Context, hooks []webhook.WebhookID, room webhook.Room) (webhook.Admission, error)
}

// Doorbell rings for deliveries; it never blocks.
type Doorbell interface{ Ring(owed []webhook.Owed) }

// Canary tells whether Redis has forgotten.
type Canary interface {
	Check(ctx context.Context) (lost bool, err error)
	Plant(ctx context.Context) error
}

// Sweeper removes what asynq can no longer see.
type Sweeper interface {
	Sweep(ctx context.Context) (mended int, err error)
}

// Config is what a Relay needs; all fields but Missed are required.
type Config struct {
	Store    Store
	Admitter Admitter
	Doorbell Doorbell
	Missed   <-chan struct{} // a word when Doorbell could not ring, or not for all
	Canary   Canary
	Sweeper  Sweeper
	Lead     Lead
	Window   int // deliveries of one webhook that may be admitted at once
	Log      *slog.Logger
	Registry prometheus.Registerer
}

const (
	// grace is how long the ordinary way (a ring, a timer, a record) has.
	grace = 2 * time.Second
	// canaryLimit is how long Redis may take to answer before it counts as away:
	// a network that swallows everything must not hold up the relay.
	canaryLimit = 2 * time.Second
	// deafLimit is how long Redis may be away for the leader before others may try:
	// for longer than a restart takes, which is everybody's and costs nobody the lead.
	deafLimit = 5 * time.Second
	// pageSize bounds one statement, maxPages one tick.
	pageSize = 1000
	maxPages = 50

	// fillRings bells are rung at most for a page of webhooks that others are at work
	// for: whoever has room for more of theirs than they bring rings for it.
	fillRings = 100

	sweepEvery = 30 // ticks
	// announcePage events of a tenant may owe a hundred times as many deliveries.
	// announceTenants share announceLimit in a tick.
	announcePage    = 50
	announceTenants = 100
	announceLimit   = interval / 2
)

// Relay repairs. Make one with New, and Run it.
type Relay struct {
	cfg    Config
	rerung prometheus.Counter
	lost   prometheus.Counter
	leader prometheus.Gauge
	tick   int
	// announced is the last tenant that had its turn.
	announced webhook.TenantID
	// deafSince is when Redis was first asked and did not answer; zero: it does.
	// away is set from then on until what was lost meanwhile is rung for, and forgot
	// while it has forgotten its tasks, until that is made good.
	deafSince    time.Time
	away, forgot bool
	// urgent is set while rings are lost: what nobody has come for since before
	// then is rung for, whatever was tried before.
	urgent time.Time
}

// New registers metrics.
func New(cfg Config) *Relay {
	r := &Relay{
		cfg: cfg,
		rerung: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_relay_rung_total", Help: "Deliveries that the relay rang for: nobody had come for them.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_redis_losses_total", Help: "Times that Redis was found to have forgotten its tasks.",
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hooks_relay_leader", Help: "1 in the process that is the relay.",
		}),
	}
	cfg.Registry.MustRegister(r.rerung, r.lost, r.leader)
	return r
}

// Run leads whenever it can, until ctx ends.
func (r *Relay) Run(ctx context.Context) error {
	return office{r, "relay", r.cfg.Lead, r.leader, r.cfg.Log}.run(ctx)
}

// able reports whether Redis answers. Having been away from it before one leads is
// remembered: the leader then may have been away, too.
func (r *Relay) able(ctx context.Context) bool {
	_, err := r.ask(ctx)
	return err == nil
}

func (r *Relay) unable(ctx context.Context) bool {
	if r.deafSince.IsZero() || time.Since(r.deafSince) < deafLimit {
		return false
	}
	r.cfg.Log.WarnContext(ctx, "relay: Redis does not answer, leaving the lead to whom it does")
	return true
}

// Tick does one round of repairs. Each is independent of the others.
func (r *Relay) Tick(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tickLimit)
	defer cancel()
	r.tick++
	r.try(ctx, "looking for what Redis lost", r.checkRedis)
	if r.away {
		return // rings would be lost
	}
	r.try(ctx, "ringing again", r.ringAgain)
	r.try(ctx, "filling lanes", r.admit)
	r.try(ctx, "announcing", r.announce)
	if r.tick%sweepEvery == 0 {
		r.try(ctx, "sweeping ghosts", r.sweep)
	}
}

func (r *Relay) try(ctx context.Context, doing string, step func(context.Context) error) {
	try(ctx, r.cfg.Log, "relay", doing, step)
}

// ask asks the canary, for a bounded time, and notes whether Redis answers.
func (r *Relay) ask(ctx context.Context) (lost bool, err error) {
	asked := time.Now()
	ctx, cancel := context.WithTimeout(ctx, canaryLimit)
	defer cancel()
	lost, err = r.cfg.Canary.Check(ctx)
	switch {
	case err == nil:
		r.deafSince = time.Time{}
	case r.deafSince.IsZero():
		r.deafSince = asked
	}
	r.away = r.away || err != nil
	return lost, err
}

// checkRedis makes good what was lost on its way. The canary is planted last:
// dying in between means ringing twice.
func (r *Relay) checkRedis(ctx context.Context) error {
	lost, err := r.ask(ctx)
	if err != nil {
		return err
	}
	anew := lost && !r.forgot
	if anew {
		r.lost.Inc()
	}
	if anew || r.away {
		r.hurry(ctx, "Redis is new, is back or has forgotten")
	}
	r.away, r.forgot = false, lost
	r.listen(ctx)
	if err := r.ringAtOnce(ctx); err != nil {
		return err
	}
	if r.forgot && !r.urgent.IsZero() {
		return nil // not made good yet
	}
	r.forgot = false
	planting, cancel := context.WithTimeout(ctx, canaryLimit)
	defer cancel()
	return r.cfg.Canary.Plant(planting)
}

func (r *Relay) hurry(ctx context.Context, why string) {
	r.cfg.Log.InfoContext(ctx, "relay: ringing for everything unclaimed", slog.String("because", why))
	r.urgent = time.Now()
}

// listen reports whether rings were lost since it last did.
func (r *Relay) listen(ctx context.Context) (missed bool) {
	select {
	case <-r.cfg.Missed:
		r.hurry(ctx, "rings were lost")
		return true
	default:
		return false
	}
}

// ringAtOnce rings for everything unclaimed when that is urgent. What it does not
// get to still is in the next tick.
func (r *Relay) ringAtOnce(ctx context.Context) error {
	since := r.urgent
	if since.IsZero() {
		return nil
	}
	all, err := r.ring(ctx, func() time.Duration { return time.Since(since) }, false)
	if all {
		r.urgent = time.Time{}
	}
	return err
}

func (r *Relay) ringAgain(ctx context.Context) error {
	if !r.urgent.IsZero() {
		return nil // begun already
	}
	_, err := r.ring(ctx, func() time.Duration { return grace }, true)
	return err
}

// ring rings for what has been unclaimed for longer than age says, page by page,
// and reports whether that was all. It goes no further when rings are lost: what
// it had marked as rung would have to wait.
func (r *Relay) ring(ctx context.Context, age func() time.Duration, patiently bool) (all bool, err error) {
	for range maxPages {
		owed, err := r.cfg.Store.Unclaimed(ctx, age(), patiently, pageSize)
		if err != nil {
			return false, err
		}
		r.rerung.Add(float64(len(owed)))
		r.cfg.Doorbell.Ring(owed)
		if r.listen(ctx) {
			return false, nil
		}
		if len(owed) < pageSize/2 { // somebody may be claiming some of a page that is not the last
			return true, nil
		}
	}
	return false, nil
}

// admit gets webhooks going again that nobody goes on with, and calls workers that
// have nothing to do for those with which others cannot keep up.
func (r *Relay) admit(ctx context.Context) error {
	var after webhook.WebhookID
	for range maxPages {
		hooks, err := r.cfg.Store.WithRoom(ctx, r.cfg.Window, grace, after, pageSize)
		if err != nil || len(hooks) == 0 {
			return err
		}
		after = hooks[len(hooks)-1]
		adm, err := r.cfg.Admitter.Admit(ctx, hooks, webhook.Room{Ring: fillRings})
		if err != nil {
			return err
		}
		r.rerung.Add(float64(len(adm.Rung)))
		r.cfg.Doorbell.Ring(adm.Rung)
		if len(hooks) < pageSize {
			return nil
		}
	}
	return nil
}

func (r *Relay) sweep(ctx context.Context) error {
	n, err := r.cfg.Sweeper.Sweep(ctx)
	if n > 0 {
		r.cfg.Log.WarnContext(ctx, "relay: tasks that asynq had lost sight of", obs.Count(n))
	}
	return err
}
