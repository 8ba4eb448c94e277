package postgres

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"
)

// ServerFacts is what an operator asks of a server first.
type ServerFacts struct {
	Version        string    `db:"version"`
	VersionNumber  int       `db:"version_number"` // 150018 for 15.18
	Clock          time.Time `db:"clock"`
	ReadOnly       bool      `db:"read_only"`
	Connections    int       `db:"connections"`
	MaxConnections int       `db:"max_connections"`
	// Hasty lists settings by which a commit that was answered may be lost when the
	// server crashes, separated by a comma.
	Hasty string `db:"hasty"`
}

const selectServerFacts = `
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
	clock_timestamp() AS clock, pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
	(SELECT coalesce(string_agg(name, ', ' ORDER BY name), '') FROM pg_settings
		WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off') AS hasty,
	(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
	current_setting('max_connections')::int AS max_connections`

// InspectServer asks any PostgreSQL, migrated or not.
func InspectServer(ctx context.Context, db *sqlx.DB) (ServerFacts, error) {
	var facts ServerFacts
	err := db.GetContext(ctx, &facts, selectServerFacts)
	return facts, dbError("inspecting PostgreSQL", err)
}

// PendingFacts is how the unfinished deliveries stand, over all tenants.
type PendingFacts struct {
	// Held waits for a webhook that is not active, Waiting for its time or its
	// webhook's (Retry-After), Parked for room in its webhook's window, Rung for a
	// worker; Leased is being sent.
	Held    int64 `db:"held"`
	Waiting int64 `db:"waiting"`
	Parked  int64 `db:"parked"`
	Rung    int64 `db:"rung"`
	Leased  int64 `db:"leased"`
	// OldestRung is how long the longest rung delivery has been due.
	OldestRung time.Duration `db:"-"`
}

// Owed counts what waits for a worker, now or later.
func (f PendingFacts) Owed() int64 { return f.Waiting + f.Parked + f.Rung + f.Leased }

// LeaderFacts is who leads, by where they connect from; empty without one.
type LeaderFacts struct {
	// Relay is who leads the relay. Keeper is whoever keeps lanes in order: a
	// worker, even when none reaches Redis.
	Relay  string
	Keeper string
}

// PartitionFacts is how far ahead rows have a place of their own.
type PartitionFacts struct {
	// DaysAhead counts the days after today (UTC) that have their partitions, -1
	// when not even today has.
	DaysAhead int
	// Strays tells that rows went to a default partition.
	Strays bool
}

const (
	selectPendingStates = `
SELECT count(*) FILTER (WHERE held) AS held,
	count(*) FILTER (WHERE NOT p.admitted AND l.open AND p.due_at > now()) + count(*) FILTER (WHERE quiet) AS waiting,
	count(*) FILTER (WHERE NOT p.admitted AND l.open AND p.due_at <= now() AND NOT quiet) AS parked,
	count(*) FILTER (WHERE rung) AS rung,
	count(*) FILTER (WHERE p.admitted AND p.lease_until > now()) AS leased,
	coalesce(extract(epoch FROM max(now() - p.due_at) FILTER (WHERE rung AND p.due_at <= now())), 0) AS oldest_rung
FROM pending_deliveries p JOIN lanes l ON l.webhook_id = p.webhook_id, LATERAL (
	SELECT coalesce(p.lease_until <= now(), true) AS free, p.kind = 'event' AND NOT l.open AS shut,
		-- Due, and nobody may come for it now: it waits for its lane.
		p.kind = 'event' AND l.open AND coalesce(l.quiet_until > now(), false) AND p.due_at <= now() AS quieted
) q, LATERAL (
	SELECT free AND shut AS held, free AND quieted AS quiet, p.admitted AND free AND NOT shut AND NOT quieted AS rung
) s`

	selectLeader = `
SELECT coalesce(string_agg(coalesce(host(a.client_addr), 'a local socket') || ' (pid ' || a.pid || ')', ', '), '')
FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
	AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
	AND ((l.classid::bigint << 32) | l.objid::bigint) = $1`

	// The first day from today on that lacks a partition of any of the three.
	selectDaysAhead = `
SELECT coalesce(min(n), 366) - 1 FROM generate_series(0, 365) AS n
WHERE to_regclass('events_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NULL
	OR to_regclass('deliveries_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NULL
	OR to_regclass('attempts_' || to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD')) IS NULL`

	selectStrays = `SELECT EXISTS (SELECT FROM events_default) OR EXISTS (SELECT FROM deliveries_default) OR EXISTS (SELECT FROM attempts_default)`
)

// InspectPending asks a migrated database. It reads every unfinished delivery once.
func InspectPending(ctx context.Context, db *sqlx.DB) (PendingFacts, error) {
	var row struct {
		PendingFacts
		OldestRungSeconds float64 `db:"oldest_rung"`
	}
	if err := db.GetContext(ctx, &row, selectPendingStates); err != nil {
		return PendingFacts{}, dbError("counting unfinished deliveries", err)
	}
	facts := row.PendingFacts
	facts.OldestRung = time.Duration(row.OldestRungSeconds * float64(time.Second))
	return facts, nil
}

// InspectLeaders asks any database.
func InspectLeaders(ctx context.Context, db *sqlx.DB) (LeaderFacts, error) {
	var facts LeaderFacts
	if err := db.GetContext(ctx, &facts.Relay, selectLeader, int64(RelayLock)); err != nil {
		return LeaderFacts{}, dbError("looking for the relay's leader", err)
	}
	if err := db.GetContext(ctx, &facts.Keeper, selectLeader, int64(KeeperLock)); err != nil {
		return LeaderFacts{}, dbError("looking for the keeper of lanes", err)
	}
	return facts, nil
}

// InspectPartitions asks a migrated database.
func InspectPartitions(ctx context.Context, db *sqlx.DB) (PartitionFacts, error) {
	var facts PartitionFacts
	if err := db.GetContext(ctx, &facts.DaysAhead, selectDaysAhead); err != nil {
		return PartitionFacts{}, dbError("looking for partitions", err)
	}
	if err := db.GetContext(ctx, &facts.Strays, selectStrays); err != nil {
		return PartitionFacts{}, dbError("looking into default partitions", err)
	}
	return facts, nil
}
