package main

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// Between two kills of the random row, and how long the victim stays away.
const (
	shortestPause, longestPause     = 2 * time.Second, 5 * time.Second
	shortestAbsence, longestAbsence = 200 * time.Millisecond, 2 * time.Second
)

func randomFaults() []fault {
	return []fault{{
		name: "random", title: "any process: kill -9 and restart, every few seconds",
		strike: killAnything, refusals: []string{noAnswer, unavailable},
	}}
}

// killAnything kills api, worker, PostgreSQL or Redis, one after another, until
// the time is over. The seed says which and when.
func killAnything(ctx context.Context, s *scene) error {
	for end := time.Now().Add(s.randomTime); time.Now().Before(end); {
		pause := between(s, shortestPause, longestPause)
		absence := between(s, shortestAbsence, longestAbsence)
		victim := s.random.IntN(len(s.apis) + len(s.workers) + 2)
		if err := wait(ctx, pause); err != nil {
			return err
		}
		if err := s.killOne(ctx, victim, absence); err != nil {
			return err
		}
	}
	return nil
}

func between(s *scene, shortest, longest time.Duration) time.Duration {
	return shortest + time.Duration(s.random.Int64N(int64(longest-shortest)))
}

// killOne kills the victim of that number, and starts it again after a while.
func (s *scene) killOne(ctx context.Context, victim int, absence time.Duration) error {
	services := slices.Concat(s.apis, s.workers)
	var one server = s.servers.Postgres
	name, kill := "PostgreSQL", s.servers.Postgres.Kill
	switch {
	case victim > len(services):
		one, name, kill = s.redis, "Redis", s.redis.Kill
	case victim < len(services):
		service := services[victim]
		one, name, kill = service, service.Name(), service.Kill
		if slices.Contains(s.workers, service) {
			kill = func() error { return s.killWorking(ctx, service) }
		}
	}
	s.log.InfoContext(ctx, "kill -9", slog.String("victim", name), slog.Duration("away", absence))
	return during(ctx, absence, kill, one.Start)
}
