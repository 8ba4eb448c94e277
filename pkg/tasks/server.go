package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// What a ServerConfig gets where it says nothing.
const (
	DefaultConcurrency       = 64
	DefaultTaskCheckInterval = 5 * time.Millisecond
	DefaultShutdownTimeout   = webhook.MaxTimeout + 6*time.Second

	// forwardInterval is how often asynq looks for bells whose time has come.
	forwardInterval = time.Second
)

// ServerConfig says what a Server needs. Zero numbers mean the defaults.
type ServerConfig struct {
	Redis   redis.UniversalClient // stays the caller's to close, after Run
	Log     *slog.Logger
	Handler Handler
	// Gate is shut while bells are not to be fetched; nil: never.
	Gate *Gate

	// Concurrency is how many bells of each queue may be at work. It costs nothing
	// while they are not: asynq starts its goroutines bell by bell.
	Concurrency int

	// TaskCheckInterval is how long an idle worker rests after it has waited for
	// the chime in vain.
	TaskCheckInterval time.Duration
	// ShutdownTimeout is how long Run waits for handlers before it gives their
	// bells back.
	ShutdownTimeout time.Duration
}

// Server answers bells. Each queue has an asynq server of its own, so that no
// queue, however full or slow, takes another's workers.
type Server struct {
	cfg     ServerConfig
	verdict *judge
}

// NewServer checks the configuration; nothing runs before Run.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Redis == nil || cfg.Log == nil || cfg.Handler == nil {
		return nil, errors.New("tasks server: Redis, Log and Handler are required")
	}
	if cfg.Gate == nil {
		cfg.Gate = NewGate()
	}
	cfg.Concurrency = orDefault(cfg.Concurrency, DefaultConcurrency)
	cfg.TaskCheckInterval = orDefault(cfg.TaskCheckInterval, DefaultTaskCheckInterval)
	cfg.ShutdownTimeout = orDefault(cfg.ShutdownTimeout, DefaultShutdownTimeout)
	return &Server{cfg: cfg, verdict: newJudge(cfg.Handler, cfg.Log, time.Now)}, nil
}

// Run waits for Redis, answers bells until ctx ends, then fetches no more and
// waits for the handlers at work. Their context outlives ctx: an end of the
// process is no reason to break off an exchange. From then on no command of the
// client takes longer than 2 s.
func (s *Server) Run(ctx context.Context) error {
	ping := func(ctx context.Context) error { return Ping(ctx, s.cfg.Redis) }
	if err := run.WaitFor(ctx, s.cfg.Log, "Redis", ping); err != nil {
		return nil // told to stop before there was anything to do
	}
	if err := PublishQueues(ctx, s.cfg.Redis); err != nil {
		s.cfg.Log.WarnContext(ctx, "queue names not published, their first tasks will", obs.Err(err))
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	bells := newChime()
	servers := s.servers(base, bells)
	var listening sync.WaitGroup
	listening.Go(func() { bells.listen(ctx, s.cfg.Redis) })
	defer func() {
		close(bells.stop)
		s.cfg.Redis.AddHook(limit(lastLimit))
		s.shutdown(servers)
		listening.Wait()
	}()
	for _, srv := range servers {
		if err := srv.Start(asynq.HandlerFunc(s.verdict.process)); err != nil {
			return fmt.Errorf("starting task server: %w", err)
		}
	}
	s.cfg.Log.InfoContext(ctx, "answering bells", slog.Any("queues", AllQueues()))
	<-ctx.Done()
	return nil
}

// shutdown first stops all fetching, then waits for all handlers, at once for
// all servers: their deadlines must not add up.
func (s *Server) shutdown(servers []*asynq.Server) {
	for _, step := range []func(*asynq.Server){(*asynq.Server).Stop, (*asynq.Server).Shutdown} {
		var all sync.WaitGroup
		for _, srv := range servers {
			all.Go(func() { step(srv) })
		}
		all.Wait()
	}
}

func (s *Server) servers(base context.Context, bells *chime) []*asynq.Server {
	servers := make([]*asynq.Server, 0, Shards+2)
	for _, q := range AllQueues() {
		servers = append(servers, asynq.NewServerFromRedisClient(bells.client(s.cfg.Redis, q, s.cfg.Gate), asynq.Config{
			Queues:                   map[string]int{string(q): 1},
			Concurrency:              s.cfg.Concurrency,
			TaskCheckInterval:        s.cfg.TaskCheckInterval,
			DelayedTaskCheckInterval: forwardInterval,
			ShutdownTimeout:          s.cfg.ShutdownTimeout,
			BaseContext:              func() context.Context { return base },
			IsFailure:                isFailure,
			RetryDelayFunc:           retryDelay,
			Logger:                   newAsynqLog(s.cfg.Log, q),
			// asynq's debug lines tell of every look into an empty queue.
			LogLevel: asynq.InfoLevel,
		}))
	}
	return servers
}

func orDefault[N int | time.Duration](n, d N) N {
	if n <= 0 {
		return d
	}
	return n
}
