package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/chaos/proxy"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	apis, workers  = 2, 3
	tenants        = 4
	hooksPerTenant = 3
	// Receivers take their time, so that requests are in flight when a fault
	// strikes, and one of each tenant's refuses some, so that retries wait, too.
	slowPath, flakyPath = "/slow/100", "/flaky/100"
	drainEvery          = 50 * time.Millisecond
)

// policy is patient enough for every fault, and quick to try again.
func policy() webhook.Policy {
	return webhook.Policy{MaxAttempts: webhook.MaxMaxAttempts, Timeout: 5 * time.Second, InitialBackoff: time.Second}
}

// hook is a webhook; a flaky one's receiver refuses some first attempts.
type hook struct {
	id    webhook.WebhookID
	flaky bool
}

// scene is a running system with a load on it.
type scene struct {
	options
	name          string
	log           *slog.Logger
	stage         *stage.Stage
	system        *stage.System
	servers       *devstack.Stack
	receiver      *stage.Receiver
	apis, workers []*stage.Service
	random        *rand.Rand // the fault's; the load has one of its own

	// What faults may set before the services start.
	redis        *devstack.Redis // the one to be killed
	wires        []*proxy.Proxy  // one for each worker, or one for all
	apiEnv       []string
	workerEnv    [workers][]string
	receiverAddr string
	ends         []func(context.Context) error

	tenants []webhook.TenantID
	hooks   map[webhook.TenantID][]hook
	clients map[webhook.TenantID][]*apiclient.Client // one for each api
	journal journal
	// endLoad takes the load off and returns when all of it is answered.
	endLoad func()
	// chance decides the load.
	chance *rand.Rand

	excused excuses                 // for requests that are made twice
	down    map[*stage.Service]bool // killed and not to be started again
}

// newScene sets everything up and waits until it is ready; close must follow, on
// error too.
func newScene(ctx context.Context, p *play, f fault) (*scene, error) {
	s := &scene{
		options: p.options, name: f.name, log: p.log, stage: p.stage, servers: p.stage.Servers, receiver: p.receiver,
		redis: p.stage.Servers.Redis, receiverAddr: p.receiver.Addr(), random: randomFor(p.seed, f.name),
		chance: randomFor(p.seed, f.name+" load"),
		hooks:  map[webhook.TenantID][]hook{}, clients: map[webhook.TenantID][]*apiclient.Client{},
		down: map[*stage.Service]bool{},
	}
	redisURL := s.servers.RedisURL()
	var err error
	if f.redis != nil {
		if redisURL, err = f.redis(ctx, s); err != nil {
			return s, err
		}
	}
	s.system, err = s.stage.NewSystemOn(ctx, strings.ReplaceAll(f.name, "-", "_")+"_row", redisURL)
	if err != nil {
		return s, err
	}
	s.atEnd(s.system.Close)
	if f.prepare != nil {
		if err := f.prepare(ctx, s); err != nil {
			return s, err
		}
	}
	return s, s.setUp(ctx)
}

// randomFor is the same for the same seed and name.
func randomFor(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // to be repeated, not to be secret
}

// atEnd has close do something; what was asked for last is done first.
func (s *scene) atEnd(do func(context.Context) error) { s.ends = append(s.ends, do) }

func (s *scene) close(ctx context.Context) error {
	for _, clients := range s.clients {
		for _, c := range clients {
			c.Close()
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var errs []error
	for _, do := range slices.Backward(s.ends) {
		errs = append(errs, do(ctx))
	}
	return errors.Join(errs...)
}

func (s *scene) setUp(ctx context.Context) error {
	if err := s.receiver.Reset(ctx); err != nil {
		return err
	}
	if err := s.addWebhooks(ctx); err != nil {
		return err
	}
	if err := s.addServices(); err != nil {
		return err
	}
	if err := s.silenceRelay(ctx); err != nil {
		return err
	}
	g, starting := errgroup.WithContext(ctx)
	for _, service := range s.services() {
		g.Go(func() error { return service.Start(starting) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.addClients()
}

// addWebhooks makes the tenants that are under load.
func (s *scene) addWebhooks(ctx context.Context) error {
	for i := range tenants {
		tenant := webhook.TenantID("tenant-" + strconv.Itoa(i))
		s.tenants = append(s.tenants, tenant)
		for n := range hooksPerTenant {
			path := slowPath
			if n == 0 {
				path = flakyPath
			}
			if err := s.addHook(ctx, tenant, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// addHook makes a webhook that is owed all of its tenant's events.
func (s *scene) addHook(ctx context.Context, tenant webhook.TenantID, path string) error {
	id, err := s.system.CreateWebhook(ctx, stage.Hook{
		Tenant: tenant, URL: "http://" + s.receiverAddr + path, Pattern: "*", Policy: policy(),
	})
	s.hooks[tenant] = append(s.hooks[tenant], hook{id, path == flakyPath})
	return err
}

func (s *scene) services() []*stage.Service { return slices.Concat(s.apis, s.workers) }

// silenceRelay takes the relay's leadership away from the workers, if that is wanted.
func (s *scene) silenceRelay(ctx context.Context) error {
	if !s.withoutRelay {
		return nil
	}
	conn, err := s.system.DB.Conn(ctx) // until the system's connections end
	if err != nil {
		return err
	}
	// Not postgres.Lead: whoever takes the lead in earnest loses it by keeping silent.
	var got bool
	err = conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(postgres.RelayLock)).Scan(&got)
	if err == nil && !got {
		err = errors.New("somebody else is the relay")
	}
	return err
}

func (s *scene) addServices() error {
	for range apis {
		api, err := s.system.APIWith(s.apiEnv...)
		if err != nil {
			return err
		}
		s.apis = append(s.apis, api)
	}
	for _, env := range s.workerEnv {
		worker, err := s.system.WorkerWith(env...)
		if err != nil {
			return err
		}
		s.workers = append(s.workers, worker)
	}
	return nil
}

func (s *scene) addClients() error {
	for tenant := range s.hooks {
		for _, api := range s.apis {
			client, err := s.system.Client(api, tenant, maxInFlight)
			if err != nil {
				return err
			}
			s.clients[tenant] = append(s.clients[tenant], client)
		}
	}
	return nil
}

// play puts the load on, lets the fault strike, has refused clients ask again,
// waits until nothing is owed, and reckons.
func (s *scene) play(ctx context.Context, f fault) (result, error) {
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	s.startLoad(loading)
	err := wait(ctx, s.load*2/5)
	struck := time.Now()
	if err == nil {
		err = f.strike(loading, s)
	}
	lasted := time.Since(struck)
	if err == nil {
		err = wait(ctx, s.load*3/5)
	}
	if err != nil {
		cancel() // no answers are waited for any more
	}
	s.endLoad()
	if err != nil {
		return result{}, fmt.Errorf("striking: %w", err)
	}
	b := books{fault: f, struck: struck, lasted: lasted, hooks: s.hooks, excused: s.excused}
	if b.before, err = s.events(ctx); err != nil {
		return result{}, err
	}
	s.askAgain(ctx)
	draining, stop := context.WithTimeout(ctx, s.patience)
	defer stop()
	// What is still owed then is counted as lost.
	b.drained = s.system.AwaitDelivered(draining, drainEvery) == nil
	if ctx.Err() != nil {
		return result{}, context.Cause(ctx)
	}
	b.mutations = s.journal.all
	if err := s.fill(ctx, &b); err != nil {
		return result{}, err
	}
	return b.balance(), nil
}
