package main

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	apis, workers  = 2, 3
	tenants        = 4
	hooksPerTenant = 3
	// receiverPath takes its time, so that requests are in flight when a fault
	// strikes.
	receiverPath = "/slow/100"
	// drainTimeout is how long the system has for what it owes after the load: a
	// lease that a dead worker leaves behind ends after 15 s.
	drainTimeout = 60 * time.Second
	drainEvery   = 50 * time.Millisecond
)

// scene is a running system with a load on it.
type scene struct {
	options
	system        *stage.System
	servers       *devstack.Stack
	receiver      *stage.Receiver
	apis, workers []*stage.Service
	random        *rand.Rand // the fault's; the load has one of its own

	tenants []webhook.TenantID
	hooks   map[webhook.TenantID][]webhook.WebhookID
	clients map[webhook.TenantID][]*apiclient.Client // one for each api
}

// randomFor is the same for the same seed and name.
func randomFor(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // to be repeated, not to be secret
}

// setUp starts everything and waits until it is ready.
func (s *scene) setUp(ctx context.Context) error {
	if err := s.receiver.Reset(ctx); err != nil {
		return err
	}
	for i := range tenants {
		tenant := webhook.TenantID("tenant-" + strconv.Itoa(i))
		s.tenants = append(s.tenants, tenant)
		for range hooksPerTenant {
			id, err := s.system.CreateWebhook(ctx, stage.Hook{
				Tenant: tenant, URL: s.receiver.URL(receiverPath), Pattern: "*", Policy: webhook.DefaultPolicy(),
			})
			if err != nil {
				return err
			}
			s.hooks[tenant] = append(s.hooks[tenant], id)
		}
	}
	if err := s.addServices(); err != nil {
		return err
	}
	if err := s.silenceRelay(ctx); err != nil {
		return err
	}
	g, starting := errgroup.WithContext(ctx)
	for _, service := range slices.Concat(s.apis, s.workers) {
		g.Go(func() error { return service.Start(starting) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.addClients()
}

// silenceRelay takes the relay's leadership away from the workers, if that is wanted.
func (s *scene) silenceRelay(ctx context.Context) error {
	if !s.withoutRelay {
		return nil
	}
	leader, err := postgres.Lead(ctx, s.system.DB, postgres.RelayLock)
	if err == nil && leader == nil {
		err = errors.New("somebody else is the relay")
	}
	return err // the lock ends with the system's connections
}

func (s *scene) addServices() error {
	for range apis {
		api, err := s.system.API()
		if err != nil {
			return err
		}
		s.apis = append(s.apis, api)
	}
	for range workers {
		worker, err := s.system.Worker()
		if err != nil {
			return err
		}
		s.workers = append(s.workers, worker)
	}
	return nil
}

func (s *scene) addClients() error {
	for _, tenant := range s.tenants {
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

func (s *scene) close() {
	for _, clients := range s.clients {
		for _, c := range clients {
			c.Close()
		}
	}
}

// play puts the load on, lets the fault strike in the middle, waits until nothing
// is owed, and reckons.
func (s *scene) play(ctx context.Context, f fault) (result, error) {
	ended := make(chan []mutation, 1)
	go func() { ended <- s.dispatch(ctx, randomFor(s.seed, f.name+" load")) }() // waited for below
	err := wait(ctx, s.load*2/5)
	struck := time.Now()
	if err == nil {
		err = f.strike(ctx, s)
	}
	lasted := time.Since(struck)
	mutations := <-ended
	if err != nil {
		return result{}, fmt.Errorf("striking: %w", err)
	}
	draining, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	drained := s.system.AwaitDelivered(draining, drainEvery)
	if ctx.Err() != nil {
		return result{}, errors.Join(context.Cause(ctx), drained)
	}
	// What is still owed then is counted as lost.
	r, err := s.reckon(ctx, f, mutations, struck)
	r.Lasted = lasted.Seconds()
	return r, err
}
