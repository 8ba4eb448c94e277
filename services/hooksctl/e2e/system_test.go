package e2e_test

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jmoiron/sqlx"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
)

const (
	tenant   = "acme"
	audience = "crm-webhooks-e2e"

	monitorUser, monitorPassword = "operator", "monitor-password-of-the-e2e-tests"
)

// system is one installation: a database, a Redis and keys, and whatever
// processes a test starts on them.
type system struct {
	t               *testing.T
	database, redis string // URLs
	db              *sqlx.DB
	jwtSecret, key  string
}

func newSystem(t *testing.T) *system {
	t.Helper()
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	s := &system{
		t: t, database: postgrestest.New(t), redis: redistest.New(t),
		jwtSecret: rand.Text() + rand.Text(), key: base64.StdEncoding.EncodeToString(key[:]),
	}
	db, err := postgres.Open(postgres.Config{URL: s.database, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s.db = db
	return s
}

// env is the one list of settings that all processes get; a later line wins.
func (s *system) env(more ...string) []string {
	return append([]string{
		"DATABASE_URL=" + s.database, "REDIS_URL=" + s.redis, "HOOKS_DATABASE_CONNECTIONS=12",
		"HOOKS_JWT_SECRET=" + s.jwtSecret, "HOOKS_JWT_AUDIENCE=" + audience, "HOOKS_ENCRYPTION_KEYS=" + s.key,
		"HOOKS_ALLOW_HTTP=true", "HOOKS_ALLOWED_NETWORKS=127.0.0.0/8",
		"HOOKS_API_ADDR=127.0.0.1:0", "HOOKS_METRICS_ADDR=127.0.0.1:0", "HOOKS_MONITOR_ADDR=127.0.0.1:0",
		"HOOKS_MONITOR_USER=" + monitorUser, "HOOKS_MONITOR_PASSWORD=" + monitorPassword,
		"HOOKS_WORKER_CONCURRENCY=64", "HOOKS_LOG_LEVEL=debug",
	}, more...)
}

// service is a process that answers HTTP at addr.
type service struct {
	*process
	addr string
}

// api starts one and waits until it is ready.
func (s *system) api(more ...string) *service {
	s.t.Helper()
	api := s.unreadyAPI(more...)
	api.awaitReady(http.StatusOK)
	return api
}

// unreadyAPI starts one and waits until it listens.
func (s *system) unreadyAPI(more ...string) *service {
	s.t.Helper()
	p := start(s.t, "api", s.env(more...))
	return &service{process: p, addr: p.awaitAddr("api")}
}

// worker starts one and waits until it answers bells.
func (s *system) worker(more ...string) *service {
	s.t.Helper()
	w := s.unreadyWorker(more...)
	w.awaitLog("answering bells")
	return w
}

func (s *system) unreadyWorker(more ...string) *service {
	s.t.Helper()
	p := start(s.t, "worker", s.env(more...))
	return &service{process: p, addr: p.awaitAddr("metrics")}
}

func (s *system) monitor() *service {
	s.t.Helper()
	p := start(s.t, "monitor", s.env())
	return &service{process: p, addr: p.awaitAddr("monitor")}
}

// awaitReady waits until /readyz answers that status.
func (s *service) awaitReady(status int) {
	s.t.Helper()
	await(s.t, s.name+" to answer /readyz as wanted", func() bool { return s.probe("/readyz") == status })
}

// probe returns the status of a GET, 0 when there is no answer.
func (s *service) probe(path string) int {
	resp, err := http.Get("http://" + s.addr + path)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// claims is a good token's payload.
func claims(tenantID string, role token.Role) token.Claims {
	return token.Claims{
		RegisteredClaims: jwt.RegisteredClaims{Subject: "user-1", Audience: jwt.ClaimStrings{audience}},
		TenantID:         tenantID, Role: string(role),
	}
}

func (s *system) token(c token.Claims) string {
	s.t.Helper()
	signed, err := token.Mint([]byte(s.jwtSecret), c, time.Now(), time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return signed
}

// client speaks to an api as an administrator of the tenant.
func (s *system) client(api *service, tenantID string) *client {
	s.t.Helper()
	return newClient(s.t, api.addr, s.token(claims(tenantID, token.Admin)))
}

// await waits until PostgreSQL answers true to a SELECT of one boolean.
func (s *system) await(what, condition string, args ...any) {
	s.t.Helper()
	await(s.t, what, func() bool {
		var holds bool
		if err := s.db.GetContext(s.t.Context(), &holds, `SELECT `+condition, args...); err != nil {
			s.t.Fatal(err)
		}
		return holds
	})
}

// count asks PostgreSQL for one number.
func (s *system) count(query string, args ...any) (n int) {
	s.t.Helper()
	if err := s.db.GetContext(s.t.Context(), &n, query, args...); err != nil {
		s.t.Fatal(err)
	}
	return n
}

// awaitIdle waits until nothing is owed any more.
func (s *system) awaitIdle() {
	s.t.Helper()
	s.await("no delivery to be pending", `NOT EXISTS (SELECT FROM pending_deliveries)`)
}
