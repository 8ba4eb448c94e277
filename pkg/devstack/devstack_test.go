package devstack_test

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

func TestMain(m *testing.M) {
	tasks.RouteClientLog(slog.New(slog.DiscardHandler)) // it tells of every try to reach a server that was killed
	// The client library sleeps between tries, for a second, after Close too.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

func TestStack_keptDataSurvivesARestart(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cfg := devstack.Config{Dir: filepath.Join(openDir(t), "dev"), Keep: true, Durable: true}

	first := start(t, cfg)
	exec(t, first.DatabaseURL(), `CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)`)
	set(t, first.RedisURL(), "kept", "7")
	if err := first.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	second := start(t, cfg)
	if got := queryInt(t, second.DatabaseURL(), `SELECT n FROM kept`); got != 7 {
		t.Errorf("PostgreSQL kept %d, want 7", got)
	}
	if got := get(t, second.RedisURL(), "kept"); got != "7" {
		t.Errorf("Redis kept %q, want 7", got)
	}
	if _, err := devstack.Start(ctx, cfg); err == nil {
		t.Error("a second run got the folder of a living one")
	}
}

// Ctrl-C in the first seconds of the first run leaves half of a data folder.
func TestStart_afterAnInterruptedInitdb(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(openDir(t), "dev")
	data := filepath.Join(dir, "postgres", "data")
	if err := os.MkdirAll(filepath.Join(data, "base"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte("15\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, devstack.Config{Dir: dir, Keep: true})
	if got := queryInt(t, s.DatabaseURL(), `SELECT 7`); got != 7 {
		t.Errorf("PostgreSQL says %d, want 7", got)
	}
}

func TestStack_throwAwayLeavesNothing(t *testing.T) {
	t.Parallel()
	parent := openDir(t)
	s := start(t, devstack.Config{Dir: parent})
	pids := []int{s.Postgres.PID(), s.Redis.PID()}
	if err := s.Stop(testContext(t)); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d still runs", pid)
		}
	}
	left, err := os.ReadDir(parent)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStack_serversCanBeKilledAndStartedAlone(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := start(t, devstack.Config{Dir: t.TempDir(), Durable: true})
	databaseURL, redisURL := s.DatabaseURL(), s.RedisURL()
	exec(t, databaseURL, `CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)`)

	exited := s.Postgres.Exited()
	if err := s.Postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	<-exited
	if pid := s.Postgres.PID(); pid != 0 {
		t.Errorf("PID() = %d after Kill, want 0", pid)
	}
	if err := s.Postgres.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if got := queryInt(t, databaseURL, `SELECT n FROM kept`); got != 7 {
		t.Errorf("PostgreSQL kept %d over Kill, want 7", got)
	}

	if err := s.Redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Redis.Start(ctx); err != nil {
		t.Fatal(err)
	}
	set(t, redisURL, "after", "1")
}

func TestPostgres_demotedIsReadOnly(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := start(t, devstack.Config{Dir: openDir(t), Durable: true})
	db := open(t, s.DatabaseURL())
	exec(t, s.DatabaseURL(), `CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)`)
	if err := s.Postgres.Demote(ctx); err != nil {
		t.Fatal(err)
	}
	if got := queryInt(t, s.DatabaseURL(), `SELECT n FROM kept`); got != 7 {
		t.Errorf("PostgreSQL kept %d, want 7", got)
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO kept VALUES (8)`); err == nil {
		t.Error("a standby takes writes")
	}
	if err := s.Postgres.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	exec(t, s.DatabaseURL(), `INSERT INTO kept VALUES (8)`)
}

func TestPostgres_Set(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	s := start(t, devstack.Config{Dir: openDir(t), Durable: true})
	db := open(t, s.DatabaseURL())
	db.SetMaxOpenConns(1)
	exec(t, s.DatabaseURL(), `CREATE TABLE kept (n int)`)
	write := func() error {
		_, err := db.ExecContext(ctx, `INSERT INTO kept VALUES (8)`)
		return err
	}
	if err := write(); err != nil {
		t.Fatal(err)
	}
	for value, writable := range map[string]bool{"on": false, "off": true} { // in either order
		if err := s.Postgres.Set(ctx, "default_transaction_read_only", value); err != nil {
			t.Fatal(err)
		}
		for (write() == nil) != writable { // the server tells its sessions soon
			if ctx.Err() != nil {
				t.Fatalf("an open session does not get to know that it is %s", value)
			}
		}
	}
}

func TestStack_WaitTellsOfADeadServer(t *testing.T) {
	t.Parallel()
	s := start(t, devstack.Config{Dir: t.TempDir()})
	if err := syscall.Kill(s.Redis.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(testContext(t)); err == nil {
		t.Error("Wait() = nil after a server died")
	}
}

// openDir is a folder that every user can get to, unlike t.TempDir: the one
// that PostgreSQL needs when the tests run as root.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "devstack-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, cfg devstack.Config) *devstack.Stack {
	t.Helper()
	s, err := devstack.Start(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// testContext ends early enough to say why, before the test binary is killed.
func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func exec(t *testing.T, url, query string) {
	t.Helper()
	if _, err := open(t, url).ExecContext(testContext(t), query); err != nil {
		t.Fatal(err)
	}
}

func queryInt(t *testing.T, url, query string) int {
	t.Helper()
	var n int
	if err := open(t, url).QueryRowContext(testContext(t), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func open(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func set(t *testing.T, url, key, value string) {
	t.Helper()
	if err := client(t, url).Set(testContext(t), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url, key string) string {
	t.Helper()
	value, err := client(t, url).Get(testContext(t), key).Result()
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestStart_saysWhyAServerDoesNotStart(t *testing.T) {
	t.Parallel()
	_, err := devstack.Start(testContext(t), devstack.Config{
		Dir: openDir(t), PostgresSettings: map[string]string{"max_connections": "many"},
	})
	if err == nil || !strings.Contains(err.Error(), "max_connections") {
		t.Errorf("Start() = %v, want the server's own words", err)
	}
	if _, err := devstack.Start(testContext(t), devstack.Config{Keep: true}); err == nil {
		t.Error("Start() kept data in no folder")
	}
}
