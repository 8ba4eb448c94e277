package app_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/api/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const jwtSecret = "0123456789abcdef0123456789abcdef"

func settings(t *testing.T, databaseURL, redisURL string) env.API {
	t.Helper()
	config, err := env.LoadAPI([]string{
		"DATABASE_URL=" + databaseURL, "REDIS_URL=" + redisURL, "HOOKS_API_ADDR=127.0.0.1:0",
		"HOOKS_JWT_SECRET=" + jwtSecret, "HOOKS_ENCRYPTION_KEYS=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// api is a running App and a client for it.
type api struct {
	t      *testing.T
	app    *app.App
	url    string
	client *http.Client
	stop   context.CancelFunc
	ended  chan error
}

func start(t *testing.T, config env.API) *api {
	t.Helper()
	a, err := app.New(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	running := &api{t: t, app: a, url: "http://" + a.Addr(), client: &http.Client{Transport: &http.Transport{}}, stop: stop, ended: make(chan error, 1)}
	go func() { running.ended <- a.Run(ctx) }() // end waits
	return running
}

// end stops the api and returns when it has stopped.
func (a *api) end() {
	a.t.Helper()
	a.client.CloseIdleConnections()
	a.stop()
	if err := <-a.ended; err != nil {
		a.t.Errorf("Run = %v", err)
	}
}

// get returns the status of a path, 0 without an answer.
func (a *api) get(path string) int {
	a.t.Helper()
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, a.url+path, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	response, err := a.client.Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// graphql answers the body of a tenant's request with a token of role ADMIN.
func (a *api) graphql(tenant, query string) string {
	a.t.Helper()
	bearer, err := token.Mint([]byte(jwtSecret), token.Claims{
		RegisteredClaims: jwt.RegisteredClaims{Subject: "me"}, TenantID: tenant, Role: string(token.Admin),
	}, time.Now(), time.Hour)
	if err != nil {
		a.t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"query": query})
	if err != nil {
		a.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodPost, a.url+"/graphql", bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	r.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(r)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

const (
	create = `mutation { createWebhook(input: {name: "n", url: "https://example.com/", eventPatterns: ["*"]}) {
		webhook { id } userErrors { message } } }`
	dispatch = `mutation { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: {}}) {
		eventId deliveryCount userErrors { message } } }`
)

func TestApp_ringsForWhatItAcceptedBeforeItStops(t *testing.T) {
	t.Parallel()
	redisURL := redistest.New(t)
	a := start(t, settings(t, postgrestest.New(t), redisURL))
	if status := a.get("/readyz"); status != http.StatusOK {
		t.Errorf("/readyz = %d", status)
	}
	if answer := a.graphql("acme", create); !strings.Contains(answer, `"id":"whk_`) {
		t.Fatal(answer)
	}
	answer := a.graphql("acme", dispatch)
	a.end()
	if !strings.Contains(answer, `"deliveryCount":1`) {
		t.Fatal(answer)
	}
	if a.get("/healthz") != 0 {
		t.Error("it answers after it has stopped")
	}
	redis, err := tasks.Connect(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	stats, err := tasks.ReadStats(t.Context(), redis, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var bells int64
	for _, q := range stats {
		bells += q.Pending
	}
	if bells != 1 {
		t.Errorf("%d bells in Redis, want one for what was accepted", bells)
	}
}

func TestApp_startsAndStopsWithoutItsServers(t *testing.T) {
	t.Parallel()
	a := start(t, settings(t, "postgres://u@127.0.0.1:1/d?sslmode=disable", "redis://127.0.0.1:1"))
	if healthy, ready := a.get("/healthz"), a.get("/readyz"); healthy != http.StatusOK || ready != http.StatusServiceUnavailable {
		t.Errorf("/healthz = %d, /readyz = %d", healthy, ready)
	}
	if answer := a.graphql("acme", dispatch); !strings.Contains(answer, "UNAVAILABLE") {
		t.Error(answer)
	}
	a.end()
}

func TestApp_closeReleasesOneThatNeverRan(t *testing.T) {
	t.Parallel()
	a, err := app.New(t.Context(), settings(t, postgrestest.New(t), redistest.New(t)), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil { // that nothing is left, goleak says
		t.Error(err)
	}
}
