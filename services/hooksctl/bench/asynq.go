package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

const (
	asynqPart = "asynq"
	asynqTask = "deliver"
	// asynqPoll keeps an empty queue from costing the baseline anything.
	asynqPoll = 5 * time.Millisecond
	enqueuers = 32
)

// asynqConcurrencies are tried in each round; the better one is the baseline.
func asynqConcurrencies() []int { return []int{64, 256} }

// playAsynq is the process of the baseline: what a team would write first.
func playAsynq(ctx context.Context) error {
	redis, err := asynq.ParseRedisURI(os.Getenv(envRedis))
	if err != nil {
		return fmt.Errorf("reading %s: %w", envRedis, err)
	}
	concurrency, err := strconv.Atoi(os.Getenv(envConcurrency))
	if err != nil {
		return fmt.Errorf("reading %s: %w", envConcurrency, err)
	}
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency: concurrency, TaskCheckInterval: asynqPoll, LogLevel: asynq.ErrorLevel,
	})
	p := newPoster(concurrency)
	err = server.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		id, _ := asynq.GetTaskID(ctx)
		return p.post(ctx, id, t.Payload())
	}))
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	<-ctx.Done()
	server.Shutdown()
	return nil
}

// measureAsynq enqueues beforehand, and measures the emptying of the queue.
func (s *suite) measureAsynq(ctx context.Context, concurrency int) (rate, error) {
	if err := s.enqueue(ctx); err != nil {
		return rate{}, err
	}
	return s.measurePart(ctx, asynqPart, envRedis+"="+s.asynqRedis(), envConcurrency+"="+strconv.Itoa(concurrency))
}

// asynqRedis is a database of the same Redis that is the baseline's own.
func (s *suite) asynqRedis() string {
	return strings.TrimSuffix(s.stage.Servers.RedisURL(), "/0") + "/1"
}

func (s *suite) enqueue(ctx context.Context) error {
	redis, err := tasks.Connect(s.asynqRedis())
	if err != nil {
		return err
	}
	defer redis.Close()
	// A server that was killed in the last round has left tasks behind.
	if err := redis.FlushDB(ctx).Err(); err != nil {
		return fmt.Errorf("emptying the baseline's Redis: %w", err)
	}
	client := asynq.NewClientFromRedisClient(redis)
	body := bytes.Repeat([]byte("x"), bodyBytes)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(enqueuers)
	for range s.deliveries {
		g.Go(func() error {
			_, err := client.EnqueueContext(ctx, asynq.NewTask(asynqTask, body))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("enqueuing: %w", err)
	}
	return nil
}
