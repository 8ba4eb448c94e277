package doctor

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func examine(t *testing.T, environ ...string) (string, error) {
	t.Helper()
	return examineWithin(t, 10*time.Second, environ...)
}

// examineWithin gives each check so long.
func examineWithin(t *testing.T, limit time.Duration, environ ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := Command{Service: []string{"api", "worker", "monitor"}, Timeout: limit}
	err := cmd.Run(t.Context(), console.New(nil, &out, io.Discard, environ))
	return out.String(), err
}

func complete(databaseURL, redisURL string) []string {
	return []string{
		"DATABASE_URL=" + databaseURL, "REDIS_URL=" + redisURL,
		"HOOKS_JWT_SECRET=0123456789abcdef0123456789abcdef",
		"HOOKS_ENCRYPTION_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"HOOKS_MONITOR_USER=a", "HOOKS_MONITOR_PASSWORD=b",
	}
}

func wantLines(t *testing.T, report string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(report, line) {
			t.Errorf("no %q in the report:\n%s", line, report)
		}
	}
}

func open(t *testing.T, url string) *sqlx.DB {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestDoctor_healthy(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	db := open(t, url)
	if _, err := postgres.NewPruner(db).CreatePartitions(t.Context(), time.Now(), 3); err != nil {
		t.Fatal(err)
	}
	leader, err := postgres.Lead(t.Context(), db, postgres.RelayLock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = leader.Resign(context.Background()) })
	report, err := examine(t, complete(url, redistest.New(t))...)
	if err != nil {
		t.Errorf("error = %v, report:\n%s", err, report)
	}
	wantLines(t, report,
		"ok    settings of the api\n", "ok    settings of the worker\n", "ok    settings of the monitor\n",
		"ok    PostgreSQL 1", "ok    clock of PostgreSQL", "ok    schema is up to date", "ok    a worker is alive",
		"ok    unfinished deliveries: 0 rung", "ok    encryption key 66687aad is all that is needed", "ok    partitions are there for 3 days ahead",
		"ok    Redis ", "ok    Redis evicts nothing", "ok    clock of Redis", "ok    queues: 0 pending")
	if strings.Contains(report, "FAIL") {
		t.Errorf("report:\n%s", report)
	}
}

func TestDoctor_pendingMigrationsAndSettings(t *testing.T) {
	t.Parallel()
	report, err := examine(t, "DATABASE_URL="+postgrestest.NewEmpty(t), "REDIS_URL="+redistest.New(t), "HOOKS_COLOUR=blue",
		"HOOKS_ENCRYPTION_KEYS=c2hvcnQ=", "HOOKS_ALLOW_HTTP=true", "HOOKS_JWT_SECRET=0123456789abcdef0123456789abcdef")
	if err == nil || err.Error() != "5 checks failed" {
		t.Errorf("error = %v, report:\n%s", err, report)
	}
	wantLines(t, report,
		"FAIL  settings of the api, worker, monitor: HOOKS_COLOUR is not a setting", "-> remove HOOKS_COLOUR",
		"FAIL  settings of the api, worker: HOOKS_ENCRYPTION_KEYS must be", "-> set HOOKS_ENCRYPTION_KEYS: comma-separated base64",
		"FAIL  settings of the monitor: HOOKS_MONITOR_USER must be set",
		"warn  HOOKS_ALLOW_HTTP",
		"migrations are pending", "-> run hooksctl migrate up")
}

func TestDoctor_serversAway(t *testing.T) {
	t.Parallel()
	report, err := examine(t, complete("postgres://u:hunter2@127.0.0.1:1/d", "redis://:hunter2@127.0.0.1:1")...)
	if err == nil || err.Error() != "2 checks failed" {
		t.Errorf("error = %v", err)
	}
	wantLines(t, report, "FAIL  PostgreSQL is not reachable", "-> start it, or correct host and port in DATABASE_URL",
		"FAIL  Redis is not reachable", "-> start it, or correct host and port in REDIS_URL")
	if strings.Contains(report, "hunter2") {
		t.Errorf("a password is in the report:\n%s", report)
	}
}

func TestDoctor_unknownService(t *testing.T) {
	t.Parallel()
	findings := configuration(nil, []string{"cron"})
	if len(findings) != 1 || findings[0].level != fail {
		t.Errorf("findings = %+v", findings)
	}
}

func TestWorker_absenceIsAFaultOnceSomethingIsOwed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		leaders postgres.LeaderFacts
		facts   postgres.PendingFacts
		want    level
	}{
		{postgres.LeaderFacts{Relay: "10.0.0.1", Keeper: "10.0.0.2"}, postgres.PendingFacts{Rung: 5}, ok},
		{postgres.LeaderFacts{Keeper: "10.0.0.2"}, postgres.PendingFacts{}, fail},
		{postgres.LeaderFacts{}, postgres.PendingFacts{}, warn},
		{postgres.LeaderFacts{}, postgres.PendingFacts{Held: 3}, warn},
		{postgres.LeaderFacts{}, postgres.PendingFacts{Waiting: 1}, fail},
	} {
		if got := worker(tc.leaders, tc.facts.Owed()); got.level != tc.want || (got.level != ok) != (got.advice != "") {
			t.Errorf("worker(%+v, %+v) = %+v", tc.leaders, tc.facts, got)
		}
	}
}

func TestPartitions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		facts postgres.PartitionFacts
		want  level
	}{
		{postgres.PartitionFacts{DaysAhead: 3}, ok},
		{postgres.PartitionFacts{DaysAhead: 0}, warn},
		{postgres.PartitionFacts{DaysAhead: -1}, warn},
		{postgres.PartitionFacts{DaysAhead: 3, Strays: true}, warn},
	} {
		if got := partitions(tc.facts); got.level != tc.want {
			t.Errorf("partitions(%+v) = %+v", tc.facts, got)
		}
	}
}

func TestAboutServer(t *testing.T) {
	t.Parallel()
	sound := postgres.ServerFacts{Version: "17.2", VersionNumber: 170002, Connections: 10, MaxConnections: 100}
	for name, tc := range map[string]struct {
		change func(*postgres.ServerFacts)
		want   level
	}{
		"sound":   {func(*postgres.ServerFacts) {}, ok},
		"old":     {func(f *postgres.ServerFacts) { f.VersionNumber = 130009 }, fail},
		"replica": {func(f *postgres.ServerFacts) { f.ReadOnly = true }, fail},
		"hasty":   {func(f *postgres.ServerFacts) { f.Hasty = "fsync" }, warn},
		"full":    {func(f *postgres.ServerFacts) { f.Connections = 95 }, warn},
	} {
		facts := sound
		tc.change(&facts)
		if got := worst(aboutServer(facts)); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	asked := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	answered := asked.Add(2 * time.Second) // a slow answer is no wrong clock
	for its, want := range map[time.Duration]level{
		time.Second: ok, 3500 * time.Millisecond: warn, -2 * time.Second: warn, time.Minute: fail, -time.Hour: fail,
	} {
		if got := clock("X", asked.Add(its), asked, answered); got.level != want {
			t.Errorf("clock %s off: %+v", its, got)
		}
	}
}

func TestAboutRedis(t *testing.T) {
	t.Parallel()
	const sound = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\nused_memory:1\r\nmaxmemory:0\r\n"
	for name, tc := range map[string]struct {
		old, new string
		want     level
	}{
		"sound":      {"", "", ok},
		"old":        {"7.0.15", "6.0.9", fail},
		"new enough": {"7.0.15", "6.2.0", ok},
		"ten":        {"7.0.15", "10.1", ok},
		"evicts":     {"noeviction", "allkeys-lru", fail},
		"forgets":    {"aof_enabled:1", "aof_enabled:0", warn},
		"disk full":  {"status:ok", "status:err", fail},
		"full":       {"used_memory:1\r\nmaxmemory:0", "used_memory:70\r\nmaxmemory:100", warn},
		"roomy":      {"used_memory:1\r\nmaxmemory:0", "used_memory:50\r\nmaxmemory:100", ok},
		"too full":   {"used_memory:1\r\nmaxmemory:0", "used_memory:100\r\nmaxmemory:100", fail},
		"replica":    {"role:master", "role:slave", fail},
	} {
		if got := worst(aboutRedis(parseInfo(strings.Replace(sound, tc.old, tc.new, 1)))); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestAboutFailedSave(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		settings map[string]string
		want     level
	}{
		"refuses writes":    {map[string]string{"stop-writes-on-bgsave-error": "yes", "save": "3600 1"}, fail},
		"takes them":        {map[string]string{"stop-writes-on-bgsave-error": "no", "save": "3600 1"}, warn},
		"saves by hand":     {map[string]string{"stop-writes-on-bgsave-error": "yes", "save": ""}, warn},
		"nobody knows that": {nil, fail},
	} {
		if got := aboutFailedSave(tc.settings); got.level != tc.want {
			t.Errorf("%s: %+v, want %v", name, got, tc.want)
		}
	}
}

func TestDoctor_keysOverHTTP(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]int{"http://id.example.com/keys": 1, "HTTP://id.example.com/keys": 1, "https://id.example.com/keys": 0} {
		if got := identity([]string{"HOOKS_JWKS_URL=" + url}); len(got) != want {
			t.Errorf("%s: %+v, want %d findings", url, got, want)
		}
	}
}

func worst(findings []finding) level {
	level := ok
	for _, f := range findings {
		level = max(level, f.level)
	}
	return level
}
