package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestAdviceOn(t *testing.T) {
	t.Parallel()
	const seeMessage = "see the message"
	said := func(code pqerror.Code) error { return webhook.Unavailable(&pq.Error{Code: code, Message: "m"}) }
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: err} }
	for name, tc := range map[string]struct {
		err             error
		postgres, redis string
	}{
		"our deadline":          {slowError{time.Second}, "pg_blocking_pids", "SLOWLOG"},
		"somebody's deadline":   {fmt.Errorf("pinging: %w", context.DeadlineExceeded), "pg_blocking_pids", "SLOWLOG"},
		"a socket's deadline":   {dial(os.ErrDeadlineExceeded), "pg_blocking_pids", "SLOWLOG"},
		"nobody listens":        {dial(os.NewSyscallError("connect", syscall.ECONNREFUSED)), "start it, or correct host and port in DATABASE_URL", "start it, or correct host and port in REDIS_URL"},
		"no such host":          {dial(&net.DNSError{IsNotFound: true}), "correct the host in DATABASE_URL", "correct the host in REDIS_URL"},
		"no answer of DNS":      {dial(&net.DNSError{IsTimeout: true}), "the network between", "the network between"},
		"wrong certificate":     {&tls.CertificateVerificationError{Err: x509.HostnameError{}}, "correct DATABASE_URL or the certificates", "correct REDIS_URL or the certificates"},
		"TLS with a plain one":  {tls.RecordHeaderError{}, "correct DATABASE_URL or the certificates", "correct REDIS_URL or the certificates"},
		"no TLS in the server":  {fmt.Errorf("x: %w", pq.ErrSSLNotSupported), "sslmode in DATABASE_URL", seeMessage},
		"lock timeout":          {said("55P03"), "pg_blocking_pids", seeMessage},
		"statement timeout":     {said("57014"), "pg_blocking_pids", seeMessage},
		"too many connections":  {said("53300"), "raise max_connections", seeMessage},
		"disk full":             {said("53100"), seeMessage, seeMessage},
		"permission":            {said("42501"), "grant what the message names", seeMessage},
		"password":              {said("28P01"), "user and password in DATABASE_URL", seeMessage},
		"pg_hba":                {said("28000"), "pg_hba.conf", seeMessage},
		"no such database":      {said("3D000"), "the database's name in DATABASE_URL", seeMessage},
		"starting":              {said("57P03"), "wait", seeMessage},
		"no such table":         {said("42P01"), seeMessage, seeMessage},
		"ACL":                   {redisError("NOPERM this user has no permissions to run the 'info' command"), seeMessage, "ACL SETUSER"},
		"password of Redis":     {redisError("WRONGPASS invalid username-password pair or user is disabled."), seeMessage, "user and password in REDIS_URL"},
		"no password for Redis": {redisError("NOAUTH Authentication required."), seeMessage, "user and password in REDIS_URL"},
		"too many clients":      {redisError("ERR max number of clients reached"), seeMessage, "raise maxclients"},
		"loading":               {redisError("LOADING Redis is loading the dataset in memory"), seeMessage, "wait"},
		"primary away":          {redisError("MASTERDOWN Link with MASTER is down"), seeMessage, "point REDIS_URL to the primary"},
		"anything else":         {errors.New("the moon is full"), seeMessage, seeMessage},
	} {
		for variable, want := range map[string]string{"DATABASE_URL": tc.postgres, "REDIS_URL": tc.redis} {
			if got := adviceOn(tc.err, variable); !strings.Contains(got, want) || strings.Contains(got, "{") {
				t.Errorf("%s: %s: %q, want %q", name, variable, got, want)
			}
		}
	}
}

// redisError is an error as the client makes them of Redis's words.
type redisError string

func (e redisError) Error() string { return string(e) }

// RedisError implements redis.Error.
func (redisError) RedisError() {}

func TestTry_tellsTheCauseAndKeepsWhatWasFound(t *testing.T) {
	t.Parallel()
	x := examination{"DATABASE_URL", time.Minute}
	got := x.try(t.Context(), "looking", func(context.Context) ([]finding, error) {
		return []finding{good("half of it")}, fmt.Errorf("reading: %w", webhook.Unavailable(&pq.Error{Message: "no room", Code: "53300"}))
	})
	if len(got) != 2 || got[0].what != "half of it" || got[1].level != fail || !strings.HasPrefix(got[1].what, "looking: pq: no room") {
		t.Errorf("findings %+v", got)
	}
}

func TestDoctor_aLockedTableHidesNoOtherFact(t *testing.T) {
	t.Parallel()
	databaseURL := postgrestest.New(t)
	tx, err := open(t, databaseURL).BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE pending_deliveries`); err != nil {
		t.Fatal(err)
	}
	report, _ := examineWithin(t, 3*time.Second, complete(databaseURL, redistest.New(t))...)
	wantLines(t, report,
		"FAIL  counting unfinished deliveries: no answer within 3s\n      -> see what it waits for: locks",
		"ok    PostgreSQL 1", "ok    clock of PostgreSQL", "ok    schema is up to date", "no worker is alive", "ok    partitions are there",
		"ok    encryption key", "ok    Redis ", "ok    queues: 0 pending")
}

func TestDoctor_advisesOnWhatPostgresSays(t *testing.T) {
	t.Parallel()
	base, err := url.Parse(postgrestest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	role := "doctor_" + strings.ToLower(rand.Text())
	db := open(t, base.String())
	if _, err := db.ExecContext(t.Context(), `CREATE ROLE `+role+` LOGIN PASSWORD 'right'`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := db.ExecContext(context.Background(), `DROP ROLE `+role); err != nil {
			t.Error(err)
		}
	})
	as := func(password, database string) string {
		u := *base
		u.User = url.UserPassword(role, password)
		if database != "" {
			u.Path = "/" + database
		}
		return "DATABASE_URL=" + u.String()
	}
	for _, tc := range []struct {
		setting string
		want    []string
	}{
		{as("right", ""), []string{"ok    PostgreSQL 1", "FAIL  looking for pending migrations: ", "permission denied", "-> grant what the message names", "no worker is alive"}},
		{as("wrong", ""), []string{"FAIL  PostgreSQL is not reachable: ", "-> correct user and password in DATABASE_URL"}},
		{as("right", "no_such_database"), []string{"FAIL  PostgreSQL is not reachable: ", "-> correct the database's name in DATABASE_URL"}},
	} {
		report, _ := examine(t, tc.setting)
		wantLines(t, report, tc.want...)
	}
	if _, err := db.ExecContext(t.Context(), `ALTER ROLE `+role+` CONNECTION LIMIT 0`); err != nil {
		t.Fatal(err)
	}
	report, _ := examine(t, as("right", ""))
	wantLines(t, report, "FAIL  PostgreSQL is not reachable: ", "too many connections", "-> raise max_connections")
}

func TestDoctor_advisesOnWhatRedisSays(t *testing.T) {
	t.Parallel()
	base, err := url.Parse(redistest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(base.String())
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	user := "doctor_" + rand.Text()
	if err := client.Do(t.Context(), "ACL", "SETUSER", user, "on", ">right", "~*", "+@all", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Do(context.Background(), "ACL", "DELUSER", user) })
	as := func(password string) string {
		u := *base
		u.User = url.UserPassword(user, password)
		return "REDIS_URL=" + u.String()
	}
	report, _ := examine(t, as("right"))
	wantLines(t, report, "FAIL  asking Redis about itself: NOPERM", "-> let the user of REDIS_URL", "ok    clock of Redis", "ok    queues: 0 pending")
	if settings := readSettings(t.Context(), client, "save", "stop-writes-on-bgsave-error"); settings["stop-writes-on-bgsave-error"] == "" {
		t.Errorf("settings %v", settings)
	}
	report, _ = examine(t, as("wrong"))
	wantLines(t, report, "FAIL  Redis is not reachable: ", "-> correct user and password in REDIS_URL")
}
