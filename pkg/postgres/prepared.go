package postgres

import (
	"context"
	"sync"

	"github.com/jmoiron/sqlx"
)

// prepared keeps the statements of a hot path: lib/pq has no statement cache,
// and planning over all partitions on each call would cost more than the call.
type prepared struct {
	db    *sqlx.DB
	mu    sync.Mutex
	stmts map[string]*sqlx.Stmt
}

func newPrepared(db *sqlx.DB) *prepared { return &prepared{db: db, stmts: map[string]*sqlx.Stmt{}} }

// get returns the prepared form of query, preparing it on first use. The result
// is safe for concurrent use and lives as long as the pool.
func (p *prepared) get(ctx context.Context, query string) (*sqlx.Stmt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if stmt, ok := p.stmts[query]; ok {
		return stmt, nil
	}
	stmt, err := p.db.PreparexContext(ctx, query) //nolint:sqlclosecheck // kept, that is the point; it closes with the pool
	if err != nil {
		return nil, dbError("preparing a statement", err)
	}
	p.stmts[query] = stmt
	return stmt, nil
}

// selectAll reads all rows of a prepared query into dest, a pointer to a slice.
func (p *prepared) selectAll(ctx context.Context, dest any, query string, args ...any) error {
	stmt, err := p.get(ctx, query) //nolint:sqlclosecheck // kept by get
	if err != nil {
		return err
	}
	return stmt.SelectContext(ctx, dest, args...)
}
