package stage

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
)

// System is one installation: a database, a Redis and the services on them.
type System struct {
	DB    *sqlx.DB
	Redis redis.UniversalClient

	stage    *Stage
	name     string
	database string // URL
	redisURL string
	services []*Service
}

// DatabaseURL is what the services are given, as RedisURL is.
func (y *System) DatabaseURL() string { return y.database }

// RedisURL is what the services are given.
func (y *System) RedisURL() string { return y.redisURL }

// EmptyRedis is FLUSHALL, on each master of a cluster.
func (y *System) EmptyRedis(ctx context.Context) error {
	flush := func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() }
	var err error
	if cluster, ok := y.Redis.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, flush)
	} else {
		err = y.Redis.FlushAll(ctx).Err()
	}
	if err != nil {
		return fmt.Errorf("emptying Redis: %w", err)
	}
	return nil
}

// Close ends the services and drops the database, also when ctx has ended.
func (y *System) Close(ctx context.Context) error {
	var errs []error
	for _, service := range y.services {
		errs = append(errs, service.Kill())
	}
	if y.Redis != nil {
		errs = append(errs, y.Redis.Close())
	}
	if y.DB != nil {
		errs = append(errs, y.DB.Close())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(append(errs, y.stage.execPostgres(ctx, `DROP DATABASE IF EXISTS `+y.name+` WITH (FORCE)`))...)
}

// API adds an api; Start starts it.
func (y *System) API() (*Service, error) { return y.APIWith() }

// APIWith is API with settings ("NAME=value") that go before the system's own.
func (y *System) APIWith(more ...string) (*Service, error) {
	return y.service("api", "api", "HOOKS_API_ADDR", append([]string{"HOOKS_JWT_SECRET=" + y.stage.secret}, more...))
}

// Worker adds a worker; Start starts it.
func (y *System) Worker() (*Service, error) { return y.WorkerWith() }

// WorkerWith is Worker with settings ("NAME=value") that go before the system's own.
func (y *System) WorkerWith(more ...string) (*Service, error) {
	return y.service("worker", "worker", "HOOKS_METRICS_ADDR", more)
}

// SkewedWorker adds a worker whose clock is wrong; Stage.BuildSkewed must have
// been called.
func (y *System) SkewedWorker(skew time.Duration, more ...string) (*Service, error) {
	return y.service("worker", skewedWorker, "HOOKS_METRICS_ADDR", append(more, skewVariable+"="+skewSeconds(skew)))
}

func (y *System) service(kind, program, addrVariable string, more []string) (*Service, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%s-%d", y.name, kind, len(y.services))
	log := filepath.Join(y.stage.dir, name+".log")
	if err := os.Remove(log); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("removing the log of an earlier run: %w", err)
	}
	s := &Service{
		Addr: addr, Log: log, name: name, path: filepath.Join(y.stage.dir, program),
		env: append([]string{
			"DATABASE_URL=" + y.database, "REDIS_URL=" + y.redisURL,
			"HOOKS_ENCRYPTION_KEYS=" + y.stage.keyCSV, "HOOKS_ALLOW_HTTP=true", "HOOKS_ALLOWED_NETWORKS=127.0.0.0/8",
			addrVariable + "=" + addr,
		}, more...), // of two settings of one name the later one counts
	}
	y.services = append(y.services, s)
	return s, nil
}

// Client speaks to an api for a tenant, over up to so many connections.
func (y *System) Client(api *Service, tenant webhook.TenantID, connections int) (*apiclient.Client, error) {
	claims := token.Claims{TenantID: string(tenant), Role: string(token.Admin)}
	claims.Subject = y.name
	bearer, err := token.Mint([]byte(y.stage.secret), claims, time.Now(), time.Hour)
	if err != nil {
		return nil, err
	}
	return apiclient.New("http://"+api.Addr, bearer, connections), nil
}

// Hook is a webhook to make.
type Hook struct {
	Tenant  webhook.TenantID
	URL     string
	Pattern string
	Policy  webhook.Policy
}

// CreateWebhook stores a webhook as the api would.
func (y *System) CreateWebhook(ctx context.Context, h Hook) (webhook.WebhookID, error) {
	pattern, err := webhook.ParsePattern(h.Pattern)
	if err != nil {
		return webhook.WebhookID{}, err
	}
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	secret, err := webhook.SecretFromKey(key)
	if err != nil {
		return webhook.WebhookID{}, err
	}
	now := time.Now()
	id := webhook.NewWebhookID(now, random)
	settings := webhook.Settings{Name: h.Pattern, URL: h.URL, Patterns: []webhook.Pattern{pattern}, Policy: h.Policy}
	return id, postgres.NewWebhooks(y.DB, y.stage.keys).Create(ctx, settings.Webhook(id, h.Tenant, y.name, now), secret)
}

// acceptBatch is how many events one commit takes.
const acceptBatch = 500

// Accept stores events and rings for them as the api would, without an api.
func (y *System) Accept(ctx context.Context, events []webhook.NewEvent) error {
	db, err := postgres.Open(postgres.Config{URL: y.database, MaxConns: 1, HotPath: true})
	if err != nil {
		return err
	}
	defer db.Close()
	defaults, err := env.Load[struct{ env.Admission }](nil)
	if err != nil {
		return err
	}
	store := postgres.NewEvents(db, defaults.EndpointConcurrency)
	doorbell := tasks.NewDoorbell(tasks.NewRinger(y.Redis), slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ringing, silence := context.WithCancel(ctx)
	defer silence()
	rung := make(chan error, 1)
	go func() { rung <- doorbell.Run(ringing) }() // waited for below
	for len(events) > 0 && err == nil {
		n := min(acceptBatch, len(events))
		err = acceptOnce(ctx, store, doorbell, events[:n])
		events = events[n:]
	}
	silence()
	return errors.Join(err, <-rung)
}

func acceptOnce(ctx context.Context, store *postgres.Events, doorbell *tasks.Doorbell, events []webhook.NewEvent) error {
	now := time.Now()
	var submission webhook.Submission
	for _, e := range events {
		var random [10]byte
		_, _ = rand.Read(random[:]) // never fails
		id := webhook.NewEventID(now, random)
		body, err := e.Body(id, now)
		if err != nil {
			return err
		}
		submission.Events = append(submission.Events, webhook.SubmittedEvent{
			Event: webhook.Event{ID: id, Tenant: e.Tenant, Type: e.Type, Body: body},
		})
	}
	receipts, owed, err := store.Accept(ctx, []webhook.Submission{submission})
	if err != nil {
		return err
	}
	doorbell.RingFirst(owed)
	return receipts[0].Err
}

// Pending counts the deliveries that are not finished.
func (y *System) Pending(ctx context.Context) (n int, err error) {
	return n, y.DB.GetContext(ctx, &n, `SELECT count(*) FROM pending_deliveries`)
}

// AwaitDelivered returns when no delivery is owed any more.
func (y *System) AwaitDelivered(ctx context.Context, every time.Duration) error {
	err := poll(ctx, every, func(ctx context.Context) error {
		var some bool
		if err := y.DB.GetContext(ctx, &some, `SELECT EXISTS (SELECT FROM pending_deliveries)`); err != nil {
			return err
		}
		if some {
			return errPending
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("waiting for deliveries to be recorded: %w", err)
	}
	return nil
}

var errPending = errors.New("some are pending")
