package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
)

// Leader is held by one process at a time.
type Leader struct {
	conn *sql.Conn
	lock Lock
}

// Lock names an advisory lock: one leader for each.
type Lock int64

// The locks; any constants will do.
const (
	RelayLock  Lock = 7238915346
	PruneLock  Lock = 7238915347
	KeeperLock Lock = 7238915349 // not 48: see lockMending
)

// leaderLimit is how long a leader may be in doubt: whoever cannot ask the
// server within it does not lead. These statements wait for nothing there.
const leaderLimit = 5 * time.Second

// relayIdle is how long the relay, or the keeper, may not ask whether it still
// leads. A process that was frozen keeps its connection, and would keep others from
// leading. Pruning asks nothing while it works, and is in no such hurry.
const relayIdle = 10 * time.Second

// Lead tries to become leader; nil without error means that another process is.
// Leadership ends with the connection: Still tells.
func Lead(ctx context.Context, db *sqlx.DB, lock Lock) (*Leader, error) {
	if lock == PruneLock {
		return lead(ctx, db, lock, 0)
	}
	return lead(ctx, db, lock, relayIdle)
}

// lead ends the leadership of whoever is silent for idle; 0 is no bound.
func lead(ctx context.Context, db *sqlx.DB, lock Lock, idle time.Duration) (*Leader, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderLimit)
	defer cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, dbError("connecting", err)
	}
	var got bool
	if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lock)).Scan(&got); err != nil || !got {
		_ = conn.Close()
		return nil, dbError("taking a leader's lock", err)
	}
	l := &Leader{conn, lock}
	if _, err := conn.ExecContext(ctx, `SELECT set_config('idle_session_timeout', $1, false)`, idle.Milliseconds()); err != nil {
		return nil, errors.Join(dbError("bounding a leader's silence", err), l.Resign(ctx))
	}
	return l, nil
}

// Still reports nil while the lock's connection is alive.
func (l *Leader) Still(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaderLimit)
	defer cancel()
	_, err := l.conn.ExecContext(ctx, `SELECT 1`)
	return dbError("holding a leader's lock", err)
}

// Resign gives the lock up.
func (l *Leader) Resign(ctx context.Context) error {
	_, err := l.conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1), set_config('idle_session_timeout', '0', false)`, int64(l.lock))
	return errors.Join(dbError("releasing a leader's lock", err), l.conn.Close())
}
