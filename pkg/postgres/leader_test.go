package postgres_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// deafServer is a driver whose server may fall silent: then everything waits
// for the end of its context.
type deafServer struct{ deaf bool }

func (s *deafServer) Connect(context.Context) (driver.Conn, error) { return deafConn{s}, nil }
func (s *deafServer) Driver() driver.Driver                        { return nil }

type deafConn struct{ server *deafServer }

func (c deafConn) wait(ctx context.Context) error {
	if !c.server.deaf {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (c deafConn) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	return &oneTrue{}, c.wait(ctx)
}

func (c deafConn) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), c.wait(ctx)
}

func (c deafConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (c deafConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
func (c deafConn) Close() error                        { return nil }

// oneTrue is a row with true in it.
type oneTrue struct{ read bool }

func (r *oneTrue) Columns() []string { return []string{"got"} }
func (r *oneTrue) Close() error      { return nil }

func (r *oneTrue) Next(row []driver.Value) error {
	if r.read {
		return io.EOF
	}
	r.read, row[0] = true, true
	return nil
}

func TestLeader_isNotLongInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := &deafServer{}
		db := sqlx.NewDb(sql.OpenDB(server), "postgres")
		defer db.Close()
		leader, err := postgres.Lead(t.Context(), db, postgres.RelayLock)
		if err != nil || leader == nil {
			t.Fatal(leader, err)
		}
		defer func() { _ = leader.Resign(t.Context()) }()
		server.deaf = true
		defer func() { server.deaf = false }()
		for what, ask := range map[string]func() error{
			"Still": func() error { return leader.Still(t.Context()) },
			"Lead": func() error {
				_, err := postgres.Lead(t.Context(), db, postgres.PruneLock)
				return err
			},
		} {
			began := time.Now()
			if err := ask(); !errors.Is(err, webhook.ErrUnavailable) {
				t.Errorf("%s of a silent server: %v, want Unavailable", what, err)
			}
			if took := time.Since(began); took != 5*time.Second {
				t.Errorf("%s of a silent server took %s, want 5s", what, took)
			}
		}
	})
}

func TestLead_aFrozenLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	frozen, err := postgres.LeadFor(t.Context(), b.db, postgres.RelayLock, 200*time.Millisecond)
	if err != nil || frozen == nil {
		t.Fatal(frozen, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var next *postgres.Leader
	for next == nil { // the end of its session is the signal, and only the server sees it
		if next, err = postgres.Lead(ctx, b.db, postgres.RelayLock); err != nil {
			t.Fatal("nobody else may lead: ", err)
		}
	}
	if err := frozen.Still(ctx); err == nil {
		t.Error("two lead at once")
	}
	if err := next.Still(ctx); err != nil {
		t.Error(err)
	}
	if err := next.Resign(ctx); err != nil {
		t.Error(err)
	}
	_ = frozen.Resign(ctx) // only its connection is left to close
}
