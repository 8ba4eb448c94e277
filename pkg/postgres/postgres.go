// Package postgres keeps what must not be lost. It is the truth of the system:
// an event is accepted when its row is committed here, and a delivery is owed
// until its row here says otherwise; Redis only rings.
//
// It promises that every statement that answers a client is scoped by an
// explicit tenant parameter (I5), that facts which must agree are written by one
// statement or one transaction, and that a lost race is an error or is reported,
// never silence. Statements are constants; row structs stay inside.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Config says how to reach PostgreSQL.
type Config struct {
	// URL is a postgres:// URL; any runtime parameter may be set in its query.
	URL string
	// MaxConns bounds the pool; 0 means 16.
	MaxConns int
	// StatementTimeout bounds each statement in the server; 0 means 15 s.
	StatementTimeout time.Duration
	// Longest is the longest timeout that this pool's users allow themselves for
	// single transactions; 0 means none longer than StatementTimeout.
	Longest time.Duration
	// HotPath is for the accepting and delivering pools. Their few statements
	// are prepared once and planned once: planning over all partitions costs
	// more than running, and the planner's guesses about rows with a short life
	// (few, it thinks, whatever the truth) favour scans of whole tables.
	HotPath bool
}

const (
	defaultMaxConns         = 16
	defaultStatementTimeout = 15 * time.Second
	connLifetime            = 30 * time.Minute
)

// Open makes a pool. It connects when first used, so PostgreSQL may be down.
// Whatever becomes of the server or the network, a statement ends a little after
// its timeout at the latest.
func Open(c Config) (*sqlx.DB, error) { return open(c, defaultBounds()) }

func open(c Config, b bounds) (*sqlx.DB, error) {
	dsn, err := c.dsn()
	if err != nil {
		return nil, err
	}
	b.longest = c.Longest
	connector, err := newConnector(dsn, b)
	if err != nil {
		return nil, err
	}
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	conns := c.MaxConns
	if conns == 0 {
		conns = defaultMaxConns
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns) // the default of 2 reconnects all the time under load
	db.SetConnMaxLifetime(connLifetime)
	return db, nil
}

func (c Config) dsn() (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return "", errors.New("reading DATABASE_URL: must be a postgres:// URL")
	}
	q := u.Query()
	set := func(name, value string) {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}
	timeout := c.StatementTimeout
	if timeout == 0 {
		timeout = defaultStatementTimeout
	}
	set("statement_timeout", fmt.Sprint(timeout.Milliseconds()))
	// A process that is frozen or lost inside a transaction must not keep its
	// locks, a lane's or the relay's, for longer than that.
	set("idle_in_transaction_session_timeout", "10000")
	set("tcp_keepalives_idle", "10")
	set("tcp_keepalives_interval", "5")
	set("tcp_keepalives_count", "3")
	set("timezone", "UTC")
	set("jit", "off") // compiling for every partition takes longer than it saves
	set("application_name", "crm-webhooks")
	if c.HotPath {
		// Whoever waits longer than that for a lane lets the others pass first.
		set("lock_timeout", "2000")
		set("plan_cache_mode", "force_generic_plan")
		set("enable_seqscan", "off")
		set("enable_bitmapscan", "off") // a lane's first rows are wanted, never all of them
	} else {
		set("work_mem", "16MB") // statistics count in memory instead of sorting on disk
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// inTx runs fn in one transaction and commits when fn returns nil.
func inTx(ctx context.Context, db *sqlx.DB, fn func(tx *sqlx.Tx) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return dbError("beginning", err)
	}
	defer func() { _ = tx.Rollback() }() // after Commit this does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return dbError("committing", tx.Commit())
}

// dbError gives a driver's error its kind: a server that is away or overloaded
// is Unavailable, everything else is a fault of ours. Kinds that need to know
// what was asked for (not found, conflict) are given where that is known.
func dbError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case isAway(err):
		return fmt.Errorf("%s: %w", doing, webhook.Unavailable(err))
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// isAway reports whether trying again later can help: no connection, a server
// that starts, stops or is read-only, no room, a lost race for locks, a timeout,
// a database that is still to be migrated (42P01: no such table).
func isAway(err error) bool {
	var netErr net.Error
	if errors.As(err, &netErr) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var pqErr *pq.Error
	if !errors.As(err, &pqErr) {
		return isBrokenConn(err)
	}
	switch string(pqErr.Code) {
	case "0A000": // a standby cannot begin a transaction that writes
		return true
	case "40001", "40P01", "25006", "42P01", "55P03", "57014":
		return true
	}
	if isNewPartition(pqErr) {
		return true
	}
	class := string(pqErr.Code.Class())
	return class == "08" || class == "53" || class == "57" || class == "58"
}

// isBrokenConn recognises what database/sql and lib/pq say, in words only, of a
// connection that died under a statement, or of a pool that is closed.
func isBrokenConn(err error) bool {
	text := err.Error()
	for _, sign := range []string{
		"bad connection", "EOF", "broken pipe", "connection reset", "closed network connection", "database is closed",
	} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// isBadData reports whether the values, not the server, are at fault (classes
// 22 and 23): the same statement will fail again.
func isBadData(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && (pqErr.Code.Class() == "22" || pqErr.Code.Class() == "23") && !isNewPartition(pqErr)
}

// isCrossed reports whether the statement only met another one badly: at once,
// it will succeed. Nothing of it was stored.
func isCrossed(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && (pqErr.Code == "40P01" || isNewPartition(pqErr))
}

// isNewPartition recognises a row that was on its way to the default partition
// when its day got one of its own: it fits the default's bounds no more. The
// table's own checks have names.
func isNewPartition(err *pq.Error) bool {
	return err.Code == "23514" && err.Constraint == "" && strings.HasSuffix(err.Table, "_default")
}

// isLocked reports whether somebody else held a lock for longer than we wait.
func isLocked(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && pqErr.Code == "55P03"
}
