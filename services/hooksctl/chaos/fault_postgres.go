package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/lib/pq"
)

const (
	longAway = 30 * time.Second
	lockHeld = 10 * time.Second
	// postgresConnections is the cap of the suite's server.
	postgresConnections = "200"
)

func postgresFaults() []fault {
	refusals := []string{unavailable}
	return []fault{
		{name: "postgres-kill", title: "PostgreSQL: kill -9, restart", refusals: refusals, strike: killPostgres},
		{name: "postgres-abort", title: "PostgreSQL: immediate shutdown, restart", refusals: refusals, strike: abortPostgres},
		{name: "postgres-away", title: "PostgreSQL: 30 s away", refusals: refusals, strike: longWithoutPostgres},
		{name: "postgres-full", title: "PostgreSQL: connection cap reached for 8 s", refusals: refusals, strike: fillPostgres},
		{name: "postgres-lock", title: "PostgreSQL: a lock on deliveries for 10 s", refusals: refusals, strike: lockPostgres},
		{name: "postgres-readonly", title: "PostgreSQL: read-only (demoted) for 8 s, promoted", refusals: refusals, strike: demotePostgres},
		{
			name: "postgres-readonly-live", title: "PostgreSQL: default_transaction_read_only for 8 s, sessions live on",
			page: "postgres-readonly", refusals: refusals, strike: forbidWrites,
		},
	}
}

func killPostgres(ctx context.Context, s *scene) error { return bounce(ctx, s.servers.Postgres) }

func abortPostgres(ctx context.Context, s *scene) error {
	return during(ctx, away, func() error { return s.servers.Postgres.Abort(ctx) }, s.servers.Postgres.Start)
}

func longWithoutPostgres(ctx context.Context, s *scene) error {
	return during(ctx, longAway, func() error { return s.servers.Postgres.Stop(ctx) }, s.servers.Postgres.Start)
}

// fillPostgres ends the services' sessions and takes their places, until there is
// no place left for them.
func fillPostgres(ctx context.Context, s *scene) error {
	u, err := url.Parse(s.system.DatabaseURL())
	if err != nil {
		return errors.New("reading the database's URL")
	}
	u.RawQuery += "&application_name=crowd"
	connector, err := pq.NewConnector(u.String())
	if err != nil {
		return fmt.Errorf("reading the database's URL: %w", err)
	}
	crowd := &crowd{db: sql.OpenDB(connector)}
	return during(ctx, cut,
		func() error { return crowd.gather(ctx) },
		func(context.Context) error { return crowd.leave() })
}

// crowd takes places.
type crowd struct {
	db    *sql.DB
	conns []*sql.Conn
}

func (c *crowd) gather(ctx context.Context) error {
	const endOthers = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'crm-webhooks'`
	for {
		conn, err := c.db.Conn(ctx)
		if err == nil {
			c.conns = append(c.conns, conn)
			continue
		}
		if ctx.Err() != nil || len(c.conns) == 0 {
			return errors.Join(err, c.leave())
		}
		var others int
		if err := c.conns[0].QueryRowContext(ctx, endOthers).Scan(&others); err != nil {
			return errors.Join(fmt.Errorf("ending sessions: %w", err), c.leave())
		}
		if others == 0 {
			return nil
		}
	}
}

// leave gives all places back; a pool that is closed leaves those in use open.
func (c *crowd) leave() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(append(errs, c.db.Close())...)
}

// lockPostgres does what a migration does that nobody should have written.
func lockPostgres(ctx context.Context, s *scene) error {
	tx, err := s.system.DB.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	for _, statement := range []string{
		`SET LOCAL idle_in_transaction_session_timeout = 0`, `SET LOCAL deadlock_timeout = '1min'`, // others give way
		`LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE`,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("locking: %w", err)
		}
	}
	return during(ctx, lockHeld, func() error { return nil }, func(context.Context) error { return tx.Rollback() })
}

// demotePostgres makes it what a primary is after a failover went elsewhere:
// reachable, and read-only for all who still come.
func demotePostgres(ctx context.Context, s *scene) error {
	return during(ctx, cut, func() error { return s.servers.Postgres.Demote(ctx) }, s.servers.Postgres.Promote)
}

// forbidWrites is what an operator does to a server whose disk fills up: sessions,
// their statements and the relay's lock live on, and each transaction that writes
// is refused.
func forbidWrites(ctx context.Context, s *scene) error {
	const setting = "default_transaction_read_only"
	return during(ctx, cut,
		func() error { return s.servers.Postgres.Set(ctx, setting, "on") },
		func(ctx context.Context) error { return s.servers.Postgres.Set(ctx, setting, "off") })
}
