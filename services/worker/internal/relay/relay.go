// Package relay turns "due in PostgreSQL" into "rung in Redis", whatever was
// rung before (I2). It is what makes Redis a doorbell and nothing more: emptied,
// restarted or replaced, it costs seconds, not deliveries.
//
// One worker at a time does this, by an advisory lock. Doing it twice would be
// harmless: a ring too many finds nothing to claim.
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
	Deleted(ctx context.Context, after webhook.WebhookID, limit int) ([]webhook.WebhookID, error)
	Bury(ctx context.Context, hook webhook.WebhookID, limit int) (more bool, err error)
	MendLanes(ctx context.Context, after webhook.WebhookID, limit int) (next webhook.WebhookID, mended int, err error)
	WithNotices(ctx context.Context, after webhook.TenantID, limit int) ([]webhook.TenantID, error)
	Announce(ctx context.Context, tenant webhook.TenantID, window, limit int) (announced int, owed []webhook.Owed, err error)
	DisableFailing(ctx context.Context, tolerance webhook.Tolerance, limit int) ([]webhook.WebhookID, error)
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

// Leadership is held by one process at a time.
type Leadership interface {
	Still(ctx context.Context) error
	Resign(ctx context.Context) error
}

// Config is what a Relay needs; all fields but Missed are required.
type Config struct {
	Store    Store
	Admitter Admitter
	Doorbell Doorbell
	Missed   <-chan struct{} // a word when Doorbell could not ring, or not for all
	Canary   Canary
	Sweeper  Sweeper
	// Lead tries to become leader; nil without error means that another one is.
	Lead      func(ctx context.Context) (Leadership, error)
	Window    int // deliveries of one webhook that may be admitted at once
	Tolerance webhook.Tolerance
	Log       *slog.Logger
	Registry  prometheus.Registerer
}

const (
	interval = time.Second
	// grace is how long the ordinary way (a ring, a timer, a record) has.
	grace = 2 * time.Second
	// pageSize bounds one statement, maxPages one tick: a tick must end, so that
	// leadership is checked.
	pageSize = 1000
	maxPages = 50

	// fillRings bells are rung at most for a page of webhooks that others are at work
	// for: whoever has room for more of theirs than they bring rings for it.
	fillRings = 100

	// buryPage deleted webhooks share buryLimit in a tick: finishing what they owe
	// is in no hurry, however much it is, and what comes next in the tick may be.
	buryPage  = 100
	buryLimit = interval / 2

	// mendPage lanes are looked at every mendEvery ticks.
	mendPage   = 200
	mendEvery  = 5
	judgeEvery = 10
	sweepEvery = 30 // ticks
	tickLimit  = 20 * time.Second
	// announcePage events of a tenant may owe a hundred times as many deliveries.
	// announceTenants share announceLimit in a tick.
	announcePage    = 50
	announceTenants = 100
	announceLimit   = interval / 2
	// judgePage webhooks that only fail are disabled in a look at most.
	judgePage = 100
)

// Relay repairs. Make one with New, and Run it.
type Relay struct {
	cfg    Config
	rerung prometheus.Counter
	lost   prometheus.Counter
	mended prometheus.Counter
	leader prometheus.Gauge
	tick   int
	// buried and audited are the last webhooks that had their turn.
	buried, audited webhook.WebhookID
	// announced is the last tenant that had its turn.
	announced webhook.TenantID
	// away is set while Redis does not answer: rings would be lost. forgot is set
	// while it has forgotten its tasks, until that is made good.
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
		mended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_lanes_mended_total", Help: "Lanes whose counts were wrong: a fault of this system.",
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hooks_relay_leader", Help: "1 in the process that is the relay.",
		}),
	}
	cfg.Registry.MustRegister(r.rerung, r.lost, r.mended, r.leader)
	return r
}

// Run leads whenever it can, until ctx ends. PostgreSQL being away is not an
// error here: there is nobody to relay for meanwhile.
func (r *Relay) Run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		leadership, err := r.cfg.Lead(ctx)
		if err != nil || leadership == nil {
			continue
		}
		r.lead(ctx, leadership, ticker)
	}
}

// lead ticks until ctx or leadership ends.
func (r *Relay) lead(ctx context.Context, leadership Leadership, ticker *time.Ticker) {
	r.cfg.Log.InfoContext(ctx, "relay: leading")
	r.leader.Set(1)
	defer func() {
		r.leader.Set(0)
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		_ = leadership.Resign(end) // the lock ends with the connection in any case
	}()
	for {
		if err := leadership.Still(ctx); err != nil {
			return
		}
		r.Tick(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Tick does one round of repairs. Each is independent of the others.
func (r *Relay) Tick(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tickLimit)
	defer cancel()
	r.tick++
	r.try(ctx, "looking for what Redis lost", r.checkRedis)
	if !r.away {
		r.try(ctx, "ringing again", r.ringAgain)
		r.try(ctx, "filling lanes", r.admit)
		r.try(ctx, "announcing", r.announce)
	}
	r.try(ctx, "finishing deleted webhooks", r.bury)
	if r.tick%mendEvery == 0 {
		r.try(ctx, "mending lanes", r.mend)
	}
	if r.tick%judgeEvery == 0 {
		r.try(ctx, "disabling webhooks that only fail", r.judge)
	}
	if r.tick%sweepEvery == 0 {
		r.try(ctx, "sweeping ghosts", r.sweep)
	}
}

func (r *Relay) try(ctx context.Context, doing string, step func(context.Context) error) {
	if err := step(ctx); err != nil && ctx.Err() == nil {
		r.cfg.Log.WarnContext(ctx, "relay: step not done, next tick will", slog.String("step", doing), obs.Err(err))
	}
}

// checkRedis makes good what was lost on its way. The canary is planted last:
// dying in between means ringing twice.
func (r *Relay) checkRedis(ctx context.Context) error {
	lost, err := r.cfg.Canary.Check(ctx)
	if err != nil {
		r.away = true
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
	return r.cfg.Canary.Plant(ctx)
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

// bury gives every deleted webhook a page in turn until time is up or nothing
// can be done for any. The next tick goes on with the next one, also after a
// fault.
func (r *Relay) bury(ctx context.Context) error {
	hooks, err := r.cfg.Store.Deleted(ctx, r.buried, buryPage)
	if err != nil {
		return err
	}
	started := time.Now()
	for len(hooks) > 0 {
		var unfinished []webhook.WebhookID
		for _, hook := range hooks {
			r.buried = hook
			more, err := r.cfg.Store.Bury(ctx, hook, pageSize)
			if err != nil || time.Since(started) >= buryLimit {
				return err
			}
			if more {
				unfinished = append(unfinished, hook)
			}
		}
		hooks = unfinished
	}
	return nil
}

// mend looks at some lanes more than last time.
func (r *Relay) mend(ctx context.Context) error {
	next, n, err := r.cfg.Store.MendLanes(ctx, r.audited, mendPage)
	r.audited = next
	if n > 0 {
		r.mended.Add(float64(n))
		r.cfg.Log.ErrorContext(ctx, "relay: lanes had wrong counts", obs.Count(n))
	}
	return err
}

func (r *Relay) sweep(ctx context.Context) error {
	n, err := r.cfg.Sweeper.Sweep(ctx)
	if n > 0 {
		r.cfg.Log.WarnContext(ctx, "relay: tasks that asynq had lost sight of", obs.Count(n))
	}
	return err
}
