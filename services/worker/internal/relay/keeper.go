package relay

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Lanes is what a Keeper keeps in order, and what goes by them without waiting
// there: test sends.
type Lanes interface {
	EndTests(ctx context.Context, limit int) error
	Deleted(ctx context.Context, after webhook.WebhookID, limit int) ([]webhook.WebhookID, error)
	Bury(ctx context.Context, hook webhook.WebhookID, limit int) (more bool, err error)
	MendLanes(ctx context.Context, after webhook.WebhookID, limit int) (next webhook.WebhookID, mended int, err error)
	DisableFailing(ctx context.Context, tolerance webhook.Tolerance, limit int) ([]webhook.WebhookID, error)
}

// KeeperConfig is what a Keeper needs; all fields are required.
type KeeperConfig struct {
	Lanes     Lanes
	Lead      Lead
	Tolerance webhook.Tolerance
	Log       *slog.Logger
	Registry  prometheus.Registerer
}

const (
	// endTests test sends that nobody waits for any more are ended in a tick at most.
	endTests = 1000
	// buryPage deleted webhooks share buryLimit in a tick, some of what they owe at a
	// time: finishing it is in no hurry, however much it is, and what comes next in
	// the tick may be.
	buryPage  = 100
	burySome  = 1000
	buryLimit = interval / 2

	// mendPage lanes are looked at every mendEvery ticks.
	mendPage  = 200
	mendEvery = 5
	// judgePage webhooks that only fail are disabled at most, every judgeEvery ticks.
	judgePage  = 100
	judgeEvery = 10
)

// Keeper keeps lanes in order. Make one with NewKeeper, and Run it.
type Keeper struct {
	cfg    KeeperConfig
	mended prometheus.Counter
	leader prometheus.Gauge
	tick   int
	// buried and audited are the last webhooks that had their turn.
	buried, audited webhook.WebhookID
}

// NewKeeper registers metrics.
func NewKeeper(cfg KeeperConfig) *Keeper {
	k := &Keeper{
		cfg: cfg,
		mended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_lanes_mended_total", Help: "Lanes whose counts were wrong: a fault of this system.",
		}),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "hooks_keeper_leader", Help: "1 in the process that keeps lanes in order.",
		}),
	}
	cfg.Registry.MustRegister(k.mended, k.leader)
	return k
}

// Run leads whenever it can, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	return office{k, "keeper", k.cfg.Lead, k.leader, k.cfg.Log}.run(ctx)
}

// Whoever got the lead from PostgreSQL has all that it takes.
func (k *Keeper) able(context.Context) bool   { return true }
func (k *Keeper) unable(context.Context) bool { return false }

// Tick does one round. Its steps are independent of each other.
func (k *Keeper) Tick(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, tickLimit)
	defer cancel()
	k.tick++
	k.try(ctx, "ending test sends", func(ctx context.Context) error { return k.cfg.Lanes.EndTests(ctx, endTests) })
	k.try(ctx, "finishing deleted webhooks", k.bury)
	if k.tick%mendEvery == 0 {
		k.try(ctx, "mending lanes", k.mend)
	}
	if k.tick%judgeEvery == 0 {
		k.try(ctx, "disabling webhooks that only fail", k.judge)
	}
}

func (k *Keeper) try(ctx context.Context, doing string, step func(context.Context) error) {
	try(ctx, k.cfg.Log, "keeper", doing, step)
}

// bury gives every deleted webhook a page in turn until time is up or nothing
// can be done for any. The next tick goes on with the next one, also after a
// fault.
func (k *Keeper) bury(ctx context.Context) error {
	hooks, err := k.cfg.Lanes.Deleted(ctx, k.buried, buryPage)
	if err != nil {
		return err
	}
	started := time.Now()
	for len(hooks) > 0 {
		var unfinished []webhook.WebhookID
		for _, hook := range hooks {
			k.buried = hook
			more, err := k.cfg.Lanes.Bury(ctx, hook, burySome)
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
func (k *Keeper) mend(ctx context.Context) error {
	next, n, err := k.cfg.Lanes.MendLanes(ctx, k.audited, mendPage)
	k.audited = next
	if n > 0 {
		k.mended.Add(float64(n))
		k.cfg.Log.ErrorContext(ctx, "keeper: lanes had wrong counts", obs.Count(n))
	}
	return err
}

// judge disables webhooks that fail beyond tolerance, or whose 410 nobody else saw to.
func (k *Keeper) judge(ctx context.Context) error {
	disabled, err := k.cfg.Lanes.DisableFailing(ctx, k.cfg.Tolerance, judgePage)
	for _, hook := range disabled {
		k.cfg.Log.InfoContext(ctx, "webhook disabled: it has only failed, or answered 410", obs.Webhook(hook))
	}
	return err
}
