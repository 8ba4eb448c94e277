package main

import (
	"context"
	"fmt"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	// measureTimeout bounds one measurement.
	measureTimeout = 90 * time.Second
	stopTimeout    = 15 * time.Second
	// recordedEvery is how often PostgreSQL is asked whether all is recorded.
	recordedEvery = 2 * time.Millisecond
)

// throughput measures raw limit, baseline and ours in turn, so that a machine
// whose speed drifts treats them alike.
func (s *suite) throughput(ctx context.Context) error {
	return s.withSystem(ctx, "throughput", func(y *stage.System) error {
		if _, err := makeHooks(ctx, y, s.receiver.URL("/")); err != nil {
			return err
		}
		for n := 1; n <= s.rounds; n++ {
			s.log.InfoContext(ctx, "throughput", "round", n, "of", s.rounds)
			r, err := s.round(ctx, y, n%2 == 0)
			if err != nil {
				return err
			}
			s.report.Rounds = append(s.report.Rounds, r)
		}
		return nil
	})
}

func (s *suite) round(ctx context.Context, y *stage.System, oursFirst bool) (r round, err error) {
	steps := []func() error{
		func() (err error) { r.Raw, err = s.measureRaw(ctx); return err },
		func() (err error) { r.Asynq, err = s.measureBestAsynq(ctx); return err },
		func() (err error) { r.Arrived, r.Recorded, err = s.measureOurs(ctx, y); return err },
	}
	if oursFirst {
		steps[1], steps[2] = steps[2], steps[1]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return round{}, err
		}
	}
	return r, nil
}

func (s *suite) measureBestAsynq(ctx context.Context) (best rate, err error) {
	for _, concurrency := range asynqConcurrencies() {
		r, err := s.measureAsynq(ctx, concurrency)
		if err != nil {
			return rate{}, err
		}
		s.log.InfoContext(ctx, "bare asynq", "concurrency", concurrency, "per_second", int(r.PerSecond))
		if r.PerSecond > best.PerSecond {
			best = r
		}
	}
	return best, nil
}

// prepare makes what is measured next start from rest.
func (s *suite) prepare(ctx context.Context) error {
	if err := s.stage.Checkpoint(ctx); err != nil {
		return err
	}
	return s.receiver.Reset(ctx)
}

// measureOurs has deliveries accepted, then starts a worker, and measures until
// all have arrived, and until all are recorded.
func (s *suite) measureOurs(ctx context.Context, y *stage.System) (arrived, recorded rate, err error) {
	ctx, cancel := context.WithTimeout(ctx, measureTimeout)
	defer cancel()
	backlog, err := events(s.deliveries)
	if err != nil {
		return rate{}, rate{}, err
	}
	if err := y.Accept(ctx, backlog); err != nil {
		return rate{}, rate{}, err
	}
	if err := s.prepare(ctx); err != nil {
		return rate{}, rate{}, err
	}
	postgresBefore, redisBefore := s.stage.ServerCPU()
	worker, err := started(ctx, y.Worker)
	if err != nil {
		return rate{}, rate{}, err
	}
	tally, err := s.receiver.Await(ctx, s.deliveries)
	if err != nil {
		return rate{}, rate{}, err
	}
	if err := y.AwaitDelivered(ctx, recordedEvery); err != nil {
		return rate{}, rate{}, err
	}
	took := time.Since(time.Unix(0, tally.First))
	postgresAfter, redisAfter := s.stage.ServerCPU()
	c := cost{Process: worker.CPU(), Postgres: postgresAfter - postgresBefore, Redis: redisAfter - redisBefore}
	arrived, recorded = newRate(s.deliveries, tally.Span(), c), newRate(s.deliveries, took, c)
	s.log.InfoContext(ctx, "ours", "per_second", int(recorded.PerSecond))
	if err := s.checkRecorded(ctx, y); err != nil {
		return rate{}, rate{}, err
	}
	stopping, enough := context.WithTimeout(ctx, stopTimeout)
	defer enough()
	return arrived, recorded, worker.Stop(stopping)
}

// checkRecorded makes sure that each delivery came once and is a success.
func (s *suite) checkRecorded(ctx context.Context, y *stage.System) error {
	arrivals, err := s.receiver.Arrivals(ctx)
	if err != nil {
		return err
	}
	if err := checkOnce(arrivals, s.deliveries); err != nil {
		return err
	}
	var failed int
	if err := y.DB.GetContext(ctx, &failed, `SELECT count(*) FROM deliveries WHERE status <> 'success'`); err != nil {
		return fmt.Errorf("counting what failed: %w", err)
	}
	if failed > 0 {
		return fmt.Errorf("%d deliveries are no success", failed)
	}
	return nil
}
