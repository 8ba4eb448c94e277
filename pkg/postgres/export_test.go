package postgres

import (
	"context"
	"database/sql"
	"time"

	"github.com/jmoiron/sqlx"
)

// OpenBounded is Open with other bounds on the network.
func OpenBounded(c Config, margin, connect time.Duration) (*sqlx.DB, error) {
	return open(c, bounds{margin: margin, connect: connect})
}

// OpenForMigrating makes a pool as Migrate does, with another margin.
func OpenForMigrating(dsn string, margin time.Duration) (*sql.DB, error) {
	connector, err := newConnector(dsn, bounds{margin: margin, connect: 10 * time.Second})
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// ParseTimeout is for tests.
func ParseTimeout(value string) (time.Duration, error) { return parseTimeout(value) }

// LeadFor is Lead for whoever is never silent for longer than idle.
func LeadFor(ctx context.Context, db *sqlx.DB, lock Lock, idle time.Duration) (*Leader, error) {
	return lead(ctx, db, lock, idle)
}
