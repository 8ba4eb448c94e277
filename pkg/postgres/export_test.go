package postgres

import (
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
