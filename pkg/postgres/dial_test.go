package postgres_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// blackHole stands between a client and a server. Stalled, it takes connections
// and bytes, and neither forwards nor closes anything.
type blackHole struct {
	target string
	flow   sync.RWMutex // write-locked while stalled
	wg     sync.WaitGroup
	resume func() // may be called again
}

// newBlackHole returns a proxy and the server's URL through it.
func newBlackHole(t *testing.T, server string) (*blackHole, string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &blackHole{target: u.Host}
	u.Host = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	h.wg.Go(func() { h.serve(ctx, listener) })
	t.Cleanup(func() {
		cancel()
		_ = listener.Close()
		h.wg.Wait()
	})
	return h, u.String()
}

func (h *blackHole) serve(ctx context.Context, listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", h.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
		h.wg.Go(func() { h.forward(server, client) })
		h.wg.Go(func() { h.forward(client, server) })
	}
}

func (h *blackHole) forward(to io.WriteCloser, from io.Reader) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		h.flow.RLock()
		_, writeErr := to.Write(buf[:n])
		h.flow.RUnlock()
		if err != nil || writeErr != nil {
			return
		}
	}
}

// stall is to be called once.
func (h *blackHole) stall(t *testing.T) {
	t.Helper()
	h.flow.Lock()
	h.resume = sync.OnceFunc(h.flow.Unlock)
	t.Cleanup(h.resume) // before the pool closes, which would wait
}

// within fails the test when f takes longer.
func within(t *testing.T, limit time.Duration, what string, f func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		t.Fatalf("%s: no result within %s", what, limit)
		return nil
	}
}

func TestOpen_aServerThatVanishesIsUnavailable(t *testing.T) {
	t.Parallel()
	hole, url := newBlackHole(t, postgrestest.New(t))
	db, err := postgres.OpenBounded(postgres.Config{URL: url, StatementTimeout: time.Second}, 300*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	ask := func() error {
		_, err := postgres.NewRelay(db).WithRoom(context.Background(), 1, 0, webhook.WebhookID{}, 1)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	hole.stall(t)
	for _, what := range []string{"on a connection of the pool", "on a new connection"} {
		if err := within(t, 10*time.Second, what, ask); !errors.Is(err, webhook.ErrUnavailable) {
			t.Errorf("%s: %v, want Unavailable", what, err)
		}
	}
	hole.resume()
	if err := within(t, 10*time.Second, "after the server came back", ask); err != nil {
		t.Errorf("after the server came back: %v", err)
	}
}

func TestOpen_aServerThatVanishesInATransaction(t *testing.T) {
	t.Parallel()
	hole, url := newBlackHole(t, postgrestest.NewEmpty(t))
	db, err := postgres.OpenBounded(postgres.Config{URL: url, StatementTimeout: time.Second}, 300*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTxx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	hole.stall(t)
	if err := within(t, 10*time.Second, "committing", tx.Commit); err == nil {
		t.Error("committed without a server")
	}
	if n := db.Stats().OpenConnections; n != 0 {
		t.Errorf("connections in the pool = %d, want none: the one there was is of no use", n)
	}
}

// The driver asks the server to cancel, over another connection, when a context
// ends. Whoever waits for a prepared statement waits for that, too.
func TestOpen_aRequestToCancelEndsToo(t *testing.T) {
	t.Parallel()
	hole, address := newBlackHole(t, postgrestest.NewEmpty(t))
	db, err := postgres.OpenBounded(postgres.Config{
		URL: address + "&connect_timeout=0", StatementTimeout: 500 * time.Millisecond, MaxConns: 1,
	}, 100*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	stmt, err := db.PreparexContext(context.Background(), `SELECT 1`) //nolint:sqlclosecheck // with the pool: earlier it would wait
	if err != nil {
		t.Fatal(err)
	}
	hole.stall(t)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err = within(t, 5*time.Second, "a canceled statement", func() error {
		_, err := stmt.ExecContext(ctx)
		return err
	})
	if err == nil {
		t.Error("a statement succeeded without a server")
	}
}

func TestOpen_aSlowAnswerWithinTheTimeoutIsAwaited(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(url string) (*sqlx.DB, error){
		"with a statement timeout": func(url string) (*sqlx.DB, error) {
			return postgres.OpenBounded(postgres.Config{URL: url + "&statement_timeout=2s"}, 50*time.Millisecond, 10*time.Second)
		},
		"migrating, without one": func(url string) (*sqlx.DB, error) {
			db, err := postgres.OpenForMigrating(url, 50*time.Millisecond)
			return sqlx.NewDb(db, "postgres"), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := open(postgrestest.NewEmpty(t))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.ExecContext(t.Context(), `SELECT pg_sleep(0.5)`); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOpen_aTransactionMayTakeTheLongestTimeout(t *testing.T) {
	t.Parallel()
	db, err := postgres.OpenBounded(postgres.Config{
		URL: postgrestest.NewEmpty(t), StatementTimeout: 100 * time.Millisecond, Longest: 10 * time.Second,
	}, 50*time.Millisecond, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx := db.MustBeginTx(t.Context(), nil)
	defer func() { _ = tx.Rollback() }()
	tx.MustExecContext(t.Context(), `SET LOCAL statement_timeout = '10s'`)
	if _, err := tx.ExecContext(t.Context(), `SELECT pg_sleep(0.5)`); err != nil {
		t.Error(err)
	}
}

func TestParseTimeout(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "15000": 15 * time.Second, "15s": 15 * time.Second, "1.5 s": 1500 * time.Millisecond,
		"250ms": 250 * time.Millisecond, "2min": 2 * time.Minute, "1h": time.Hour, "1d": 24 * time.Hour, "500us": 500 * time.Microsecond,
	} {
		if got, err := postgres.ParseTimeout(value); err != nil || got != want {
			t.Errorf("ParseTimeout(%q) = %s, %v, want %s", value, got, err, want)
		}
	}
	for _, value := range []string{"-1", "soon", "1 fortnight", "1.2.3s"} {
		if got, err := postgres.ParseTimeout(value); err == nil {
			t.Errorf("ParseTimeout(%q) = %s, want an error", value, got)
		}
	}
	if _, err := postgres.Open(postgres.Config{URL: "postgres://h/d?statement_timeout=soon"}); err == nil {
		t.Error("Open took a timeout that is none")
	}
}
