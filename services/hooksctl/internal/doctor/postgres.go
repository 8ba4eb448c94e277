package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
)

const (
	minPostgres = 140000
	// Lag from which a clock is worth a look, and from which leases break: asynq's
	// last 30 s.
	warnClock = 2 * time.Second
	failClock = 25 * time.Second
	// lateRing is how long a worker may leave a bell unanswered. The relay rings
	// again long before.
	lateRing = 2 * time.Minute
	// roomForConnections is the share of max_connections that is no cause for concern.
	roomForConnections = 0.8
)

func checkPostgres(ctx context.Context, url string, keys seal.Keyring, limit time.Duration) []finding {
	db, err := postgres.Open(postgres.Config{URL: url, MaxConns: 1})
	if err != nil {
		return []finding{{fail, err.Error(), "correct DATABASE_URL"}}
	}
	defer db.Close()
	x := examination{"DATABASE_URL", limit}
	if away := x.try(ctx, "PostgreSQL is not reachable", func(ctx context.Context) ([]finding, error) {
		return nil, db.PingContext(ctx)
	}); len(away) > 0 {
		return away
	}
	findings := x.try(ctx, "asking PostgreSQL about itself", func(ctx context.Context) ([]finding, error) {
		asked := time.Now()
		server, err := postgres.InspectServer(ctx, db)
		if err != nil {
			return nil, err
		}
		return append(aboutServer(server), clock("PostgreSQL", server.Clock, asked, time.Now())), nil
	})
	migrated := true
	findings = append(findings, x.try(ctx, "looking for pending migrations", func(ctx context.Context) ([]finding, error) {
		pending, err := pendingMigrations(ctx, url)
		if err != nil {
			return nil, err
		}
		if migrated = pending == 0; !migrated {
			return []finding{{fail, fmt.Sprintf("%d migrations are pending", pending), "run hooksctl migrate up"}}, nil
		}
		return []finding{good("schema is up to date")}, nil
	})...)
	if !migrated {
		return findings
	}
	return append(append(findings, x.work(ctx, db)...), x.seals(ctx, db, keys)...)
}

func aboutServer(s postgres.ServerFacts) []finding {
	var findings []finding
	if s.VersionNumber < minPostgres {
		findings = append(findings, finding{fail, "PostgreSQL is " + s.Version, "upgrade to 14 or newer"})
	} else {
		findings = append(findings, good("PostgreSQL %s", s.Version))
	}
	if s.ReadOnly {
		findings = append(findings, finding{fail, "PostgreSQL is read-only", "promote it, or set default_transaction_read_only off, or point DATABASE_URL to the primary, or add target_session_attrs=read-write with several hosts"})
	}
	if s.Hasty != "" {
		findings = append(findings, finding{
			warn, "PostgreSQL may lose what it has committed when it crashes: " + s.Hasty + " is off", "turn it on: an event that was answered must be kept",
		})
	}
	if float64(s.Connections) > roomForConnections*float64(s.MaxConnections) {
		findings = append(findings, finding{
			warn, fmt.Sprintf("PostgreSQL has %d of %d connections in use", s.Connections, s.MaxConnections),
			adviceOnConnections,
		})
	}
	return findings
}

// clock compares with the middle of the round trip.
func clock(server string, its, asked, answered time.Time) finding {
	ours := asked.Add(answered.Sub(asked) / 2)
	difference := its.Sub(ours)
	what := fmt.Sprintf("clock of %s differs from this machine's by %s", server, difference.Round(time.Millisecond))
	const advice = "synchronise the clocks (chrony, systemd-timesyncd): retries, leases and signatures depend on them"
	switch {
	case difference.Abs() >= failClock:
		return finding{fail, what, advice}
	case difference.Abs() >= warnClock:
		return finding{warn, what, advice}
	default:
		return good("%s", what)
	}
}

func pendingMigrations(ctx context.Context, url string) (int, error) {
	migrations, err := postgres.MigrationStatus(ctx, url)
	pending := 0
	for _, m := range migrations {
		if m.Pending() {
			pending++
		}
	}
	return pending, err
}

// work looks at what the workers do.
func (x examination) work(ctx context.Context, db *sqlx.DB) []finding {
	var owed int64
	findings := x.try(ctx, "counting unfinished deliveries", func(ctx context.Context) ([]finding, error) {
		pending, err := postgres.InspectPending(ctx, db)
		if err != nil {
			return nil, err
		}
		owed = pending.Owed()
		return []finding{unfinished(pending)}, nil
	})
	findings = append(findings, x.try(ctx, "looking for a living worker", func(ctx context.Context) ([]finding, error) {
		leaders, err := postgres.InspectLeaders(ctx, db)
		if err != nil {
			return nil, err
		}
		return []finding{worker(leaders, owed)}, nil
	})...)
	return append(findings, x.try(ctx, "looking for partitions", func(ctx context.Context) ([]finding, error) {
		facts, err := postgres.InspectPartitions(ctx, db)
		if err != nil {
			return nil, err
		}
		return []finding{partitions(facts)}, nil
	})...)
}

// worker judges who leads, as far as it is known how much is owed.
func worker(leaders postgres.LeaderFacts, owed int64) finding {
	const advice = "start a worker, and look at its log: it waits for PostgreSQL, migrations and Redis"
	switch {
	case leaders.Relay != "":
		return good("a worker is alive: the relay is led from %s", leaders.Relay)
	case leaders.Keeper != "":
		return finding{
			fail, "a worker is alive at " + leaders.Keeper + ", but none reaches Redis: nobody rings",
			"mend Redis, or the workers' way to it, or their REDIS_URL",
		}
	case owed > 0:
		return finding{fail, fmt.Sprintf("no worker is alive, and %d deliveries wait for one", owed), advice}
	default:
		return finding{warn, "no worker is alive", advice}
	}
}

func unfinished(w postgres.PendingFacts) finding {
	what := fmt.Sprintf("unfinished deliveries: %d rung, %d being sent, %d parked, %d waiting for a retry, %d held",
		w.Rung, w.Leased, w.Parked, w.Waiting, w.Held)
	if w.OldestRung > lateRing {
		return finding{
			warn, fmt.Sprintf("%s; the oldest bell is unanswered for %s", what, w.OldestRung.Round(time.Second)),
			"run more workers, or raise HOOKS_WORKER_CONCURRENCY; see hooks_queue_latency_seconds",
		}
	}
	return good("%s", what)
}

func partitions(w postgres.PartitionFacts) finding {
	const advice = "a worker makes them every 10 minutes: look for \"prune\" in its log. Nothing is lost meanwhile: rows go to the default partition"
	switch {
	case w.DaysAhead < 0:
		return finding{warn, "today has no partitions", advice}
	case w.DaysAhead == 0:
		return finding{warn, "tomorrow has no partitions", advice}
	case w.Strays:
		return finding{warn, "there are rows in a default partition", "they move when their day's partition is made; rows from the future mean a wrong clock"}
	default:
		return good("partitions are there for %d days ahead", w.DaysAhead)
	}
}
