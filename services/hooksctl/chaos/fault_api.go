package main

import (
	"context"
	"sync"
	"time"
)

const (
	apiRounds = 6
	// burst is how many mutations are under way when an api is killed.
	burst = 60
	// burstEvents is how many events one of them brings at most.
	burstEvents = 3
	// longestBurst is when the api is killed at the latest.
	longestBurst = 2 * time.Second
)

func apiFaults() []fault {
	return []fault{{
		name: "api-kill", title: "api: kill -9 amid 60 mutations, restart, 6 times",
		strike: killAPIs, refusals: []string{noAnswer},
	}}
}

// killAPIs kills each api in turn in the middle of a burst of mutations, many of
// them with several events: when a random number of them has been answered.
func killAPIs(ctx context.Context, s *scene) error {
	for round := range apiRounds {
		api := round % len(s.apis)
		answered := make(chan struct{}, burst)
		var calls sync.WaitGroup
		for range burst {
			tenant := s.tenants[s.random.IntN(tenants)]
			m := s.begin(tenant, api, 1+s.random.IntN(burstEvents))
			calls.Go(func() {
				s.mutate(ctx, s.clients[tenant][api], m)
				answered <- struct{}{}
			})
		}
		awaitSome(answered, s.random.IntN(burst))
		err := bounce(ctx, s.apis[api])
		calls.Wait()
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitSome returns when n were answered, or when that takes too long.
func awaitSome(answered <-chan struct{}, n int) {
	timer := time.NewTimer(longestBurst)
	defer timer.Stop()
	for range n {
		select {
		case <-answered:
		case <-timer.C:
			return
		}
	}
}
