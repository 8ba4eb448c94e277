package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/crm-webhooks/crm-webhooks/schema"
)

const (
	// migrationLock is the advisory lock that migrating processes queue for.
	migrationLock = 0x686f6f6b73 // "hooks"
	// migrationLockSeconds is how long one waits for the others, a try a second.
	migrationLockSeconds = 600
)

// Migration is one step of the schema.
type Migration struct {
	Version int64
	Name    string
	// AppliedAt is zero for a migration that is pending.
	AppliedAt time.Time
}

// Pending tells whether the migration has yet to be applied.
func (m Migration) Pending() bool { return m.AppliedAt.IsZero() }

// Migrate applies the pending migrations of the schema that is built in.
//
// Any number of processes may call it at once: one applies, the others wait and
// find nothing to do. A migration that fails leaves its predecessors applied.
func Migrate(ctx context.Context, dsn string, log *slog.Logger) error {
	return withMigrationDB(dsn, func(db *sql.DB) error {
		locker, err := lock.NewPostgresSessionLocker(
			lock.WithLockID(migrationLock), lock.WithLockTimeout(1, migrationLockSeconds))
		if err != nil {
			return fmt.Errorf("preparing migration lock: %w", err)
		}
		provider, err := newProvider(db, goose.WithSessionLocker(locker))
		if err != nil {
			return err
		}
		results, err := provider.Up(ctx)
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			results = partial.Applied
		}
		for _, r := range results {
			log.InfoContext(ctx, "migration applied", "version", r.Source.Version, "name", r.Source.Path, "took", r.Duration)
		}
		if err != nil {
			return fmt.Errorf("migrating database: %w", err)
		}
		return nil
	})
}

// MigrationStatus lists the migrations that are built in, oldest first. It only reads.
func MigrationStatus(ctx context.Context, dsn string) ([]Migration, error) {
	var migrations []Migration
	err := withMigrationDB(dsn, func(db *sql.DB) (err error) {
		migrations, err = migrationStatus(ctx, db)
		return err
	})
	return migrations, err
}

// CheckMigrated says which migrations are missing, if any; the error then has a
// Reason() string that gives nothing away. A database that is
// ahead of this binary passes: that is what a rolling deployment looks like.
func CheckMigrated(ctx context.Context, db Querier) error {
	migrations, err := migrationStatus(ctx, db)
	if err != nil {
		return err
	}
	var pending notMigratedError
	for _, m := range migrations {
		if m.Pending() {
			pending = append(pending, m.Name)
		}
	}
	if len(pending) > 0 {
		return pending
	}
	return nil
}

// notMigratedError is the names of migrations that a database lacks.
type notMigratedError []string

// Error is for the log and for operators.
func (e notMigratedError) Error() string {
	return fmt.Sprintf("database lacks migrations %s: run `hooksctl migrate up`", strings.Join(e, ", "))
}

// Reason is for everybody.
func (e notMigratedError) Reason() string { return "the database is not migrated" }

// Querier is all that CheckMigrated needs of a pool, connection or transaction.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// The table is goose's. The newest row of a version tells; there are more only
// where somebody went down and up again with other tools.
const selectMigrations = `
SELECT version_id, max(tstamp) FROM goose_db_version WHERE is_applied GROUP BY version_id`

func migrationStatus(ctx context.Context, db Querier) ([]Migration, error) {
	appliedAt, err := appliedMigrations(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("reading migration status: %w", err)
	}
	provider, err := newProvider(new(sql.DB)) // lists files; it is never connected
	if err != nil {
		return nil, err
	}
	var migrations []Migration
	for _, source := range provider.ListSources() {
		migrations = append(migrations, Migration{
			Version: source.Version, Name: source.Path, AppliedAt: appliedAt[source.Version],
		})
	}
	return migrations, nil
}

func appliedMigrations(ctx context.Context, db Querier) (map[int64]time.Time, error) {
	rows, err := db.QueryContext(ctx, selectMigrations)
	if undefined := (*pq.Error)(nil); errors.As(err, &undefined) && undefined.Code.Name() == "undefined_table" {
		return map[int64]time.Time{}, nil // never migrated
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	appliedAt := make(map[int64]time.Time)
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, err
		}
		appliedAt[version] = at
	}
	return appliedAt, rows.Err()
}

func newProvider(db *sql.DB, options ...goose.ProviderOption) (*goose.Provider, error) {
	options = append(options, goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	provider, err := goose.NewProvider(goose.DialectPostgres, db, schema.Postgres(), options...)
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	return provider, nil
}

// withMigrationDB uses connections of its own, without the statement timeout of
// Open: to build an index may take its time.
func withMigrationDB(dsn string, f func(*sql.DB) error) error {
	connector, err := newConnector(dsn, defaultBounds())
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	return errors.Join(f(db), db.Close())
}
