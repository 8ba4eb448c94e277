package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	// asleep is how long a frozen worker stands still: its leases have ended, and
	// others must have done its work, when it wakes up.
	asleep = 25 * time.Second
	// stopTimeout is for a worker told to stop: its requests take up to 5 s.
	stopTimeout = 20 * time.Second
	// wrong is how far a clock is off.
	wrong = 60 * time.Second
)

func workerFaults() []fault {
	inFlight := withQuiet(quietHooks, halfSecond)
	return []fault{
		{name: "worker-kill", title: "one worker: kill -9", prepare: inFlight, strike: killWorker, strands: true},
		{name: "workers-kill", title: "all workers: kill -9, restart", prepare: inFlight, strike: killWorkers, strands: true},
		{name: "workers-roll", title: "all workers: SIGTERM and restart, one by one", strike: rollWorkers},
		{
			name: "worker-freeze", title: "one worker: SIGSTOP for 25 s, past its leases, SIGCONT",
			prepare: inFlight, strike: freezeWorker, strands: true, bypassed: true,
		},
		{
			name: "relay-freeze", title: "the relay: SIGSTOP for 25 s, SIGCONT; another worker: kill -9",
			prepare: inFlight, strike: freezeRelay, strands: true, bypassed: true,
		},
		{
			name: "worker-clock", title: "two workers, one of them the relay: clocks 60 s ahead and 60 s behind",
			prepare: steps(buildSkewed, withQuiet(quietHooks, slowPath)), strike: skewClocks, shows: skewedWorked,
		},
	}
}

func killWorker(ctx context.Context, s *scene) error {
	victim, err := s.catch(ctx, nil)
	if err != nil {
		return err
	}
	s.down[victim] = true
	return errors.Join(s.killWorking(ctx, victim), s.needRelay(ctx, victim))
}

func killWorkers(ctx context.Context, s *scene) error {
	if _, err := s.catch(ctx, nil); err != nil {
		return err
	}
	if err := s.killWorking(ctx, s.workers...); err != nil {
		return err
	}
	if err := wait(ctx, away); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, w := range s.workers {
		g.Go(func() error { return w.Start(ctx) })
	}
	return g.Wait()
}

func rollWorkers(ctx context.Context, s *scene) error {
	for _, w := range s.workers {
		if err := errors.Join(stop(ctx, w), w.Start(ctx)); err != nil {
			return err
		}
	}
	return nil
}

func stop(ctx context.Context, service *stage.Service) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return service.Stop(ctx)
}

// freezeWorker freezes a worker for a while. Nobody can tell a frozen one from a
// dead one, so what it has in flight is sent again.
func freezeWorker(ctx context.Context, s *scene) error {
	_, victim, err := s.relayAndVictim(ctx)
	if err != nil {
		return err
	}
	return during(ctx, asleep,
		func() error { return errors.Join(s.strand(ctx, false, nothing, victim), s.needRelay(ctx, victim)) },
		func(context.Context) error { return victim.Thaw() })
}

// freezeRelay freezes the relay and kills another worker: what that one had in
// flight waits for a relay, and the frozen one's wake would come too late.
func freezeRelay(ctx context.Context, s *scene) error {
	relay, victim, err := s.relayAndVictim(ctx)
	if err != nil {
		return err
	}
	return during(ctx, asleep, func() error {
		s.down[victim] = true
		return errors.Join(s.killWorking(ctx, victim), s.strand(ctx, false, nothing, relay), s.needRelay(ctx, victim))
	}, func(context.Context) error { return relay.Thaw() })
}

// relay is the worker that repairs for all.
func (s *scene) relay(ctx context.Context) (*stage.Service, error) { return relay(ctx, s.workers) }

func relay(ctx context.Context, among []*stage.Service) (*stage.Service, error) {
	for _, w := range among {
		metrics, err := w.Metrics(ctx)
		if err != nil {
			return nil, err
		}
		if strings.Contains(metrics, "\nhooks_relay_leader 1\n") {
			return w, nil
		}
	}
	return nil, errors.New("none of these workers is the relay")
}

func buildSkewed(ctx context.Context, s *scene) error { return s.stage.BuildSkewed(ctx) }

// skewClocks replaces two workers by ones whose clocks are wrong, sees to it that one
// of these is the relay, and gives it something to do: what Redis has forgotten.
func skewClocks(ctx context.Context, s *scene) error {
	for i, skew := range skews() {
		skewed, err := s.system.SkewedWorker(skew, s.workerEnv[i]...)
		if err != nil {
			return err
		}
		if err := errors.Join(stop(ctx, s.workers[i]), skewed.Start(ctx)); err != nil {
			return err
		}
		s.workers[i] = skewed
	}
	skewed, honest := s.workers[:len(skews())], s.workers[len(skews()):]
	for _, w := range honest {
		if err := stop(ctx, w); err != nil {
			return err
		}
	}
	if err := awaitRelay(ctx, skewed); err != nil {
		return err
	}
	for _, w := range honest {
		if err := w.Start(ctx); err != nil {
			return err
		}
	}
	return s.whileFrozen(func() error {
		return errors.Join(s.submitQuiet(ctx, quietEvents, 1), s.empty(ctx))
	})
}

func skews() []time.Duration { return []time.Duration{wrong, -wrong} }

// awaitRelay returns when one of these workers is the relay.
func awaitRelay(ctx context.Context, among []*stage.Service) error {
	for end := time.Now().Add(stopTimeout); ; {
		_, err := relay(ctx, among)
		if err == nil || time.Now().After(end) {
			return err
		}
		if err := wait(ctx, catchEvery); err != nil {
			return err
		}
	}
}

// skewedWorked is an error unless each worker with a wrong clock has sent something,
// and one of them is the relay still.
func skewedWorked(ctx context.Context, s *scene) error {
	skewed := s.workers[:len(skews())]
	_, err := relay(ctx, skewed)
	for _, w := range skewed {
		metrics, metricsErr := w.Metrics(ctx)
		if metricsErr == nil && !strings.Contains(metrics, "\nhooks_attempts_total{") {
			metricsErr = fmt.Errorf("%s has sent nothing", w.Name())
		}
		err = errors.Join(err, metricsErr)
	}
	return err
}
