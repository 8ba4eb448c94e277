package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// Timeout is how long a handler may take: the longest exchange plus room
	// for the waiting, claiming and recording around it. asynq knows whole
	// seconds only.
	Timeout = webhook.MaxTimeout + 30*time.Second

	// maxRetry is out of reach: policy is decided in the domain, not by asynq.
	maxRetry = 1000

	// maxPipeline bounds what one round trip asks of Redis.
	maxPipeline = 1000
)

// Ringer puts bells into Redis.
type Ringer struct{ redis redis.UniversalClient }

// NewRinger wraps a client, which stays the caller's to close.
func NewRinger(c redis.UniversalClient) *Ringer { return &Ringer{c} }

// Ring enqueues the bells, up to a thousand per round trip.
//
// An own bell that Redis already holds counts as rung. On an error some of the
// bells may have been rung all the same; ringing them again does no harm.
func (r *Ringer) Ring(ctx context.Context, bells []Bell) error {
	for len(bells) > 0 {
		n := min(len(bells), maxPipeline)
		if err := r.ring(ctx, bells[:n]); err != nil {
			return err
		}
		bells = bells[n:]
	}
	return nil
}

func (r *Ringer) ring(ctx context.Context, bells []Bell) error {
	missed, err := r.pipeline(ctx, bells, false)
	if err == nil && len(missed) > 0 {
		// A server that has not seen the script since its start: send its text.
		missed, err = r.pipeline(ctx, missed, true)
	}
	if err == nil && len(missed) > 0 {
		err = errors.New("redis does not keep its script")
	}
	if err != nil {
		return fmt.Errorf("ringing %d bells: %w", len(bells), err)
	}
	return nil
}

// pipeline enqueues bells in one round trip per server. It returns the bells
// that found no script there.
func (r *Ringer) pipeline(ctx context.Context, bells []Bell, withText bool) ([]Bell, error) {
	tasks := make([]*asynq.Task, len(bells))
	for i, b := range bells {
		task, err := b.task()
		if err != nil {
			return nil, err
		}
		tasks[i] = task
	}
	rec := &recorder{UniversalClient: r.redis, pipe: r.redis.Pipeline(), withText: withText}
	client := asynq.NewClientFromRedisClient(rec)
	for _, t := range tasks {
		if _, err := client.EnqueueContext(ctx, t); err != nil {
			return nil, fmt.Errorf("recording task: %w", err)
		}
	}
	if len(rec.replies) != len(tasks) {
		return nil, fmt.Errorf("asynq enqueued %d tasks by %d scripts", len(tasks), len(rec.replies))
	}
	rec.pipe.Publish(ctx, chimeChannel, queueNames(bells))
	// The replies tell: that a name was not published or the chime not heard
	// is no failure to ring.
	_, execErr := rec.pipe.Exec(ctx)
	var missed []Bell
	for i, reply := range rec.replies {
		_, answered := reply.Val().(int64) // 1: enqueued; 0: that id is there already
		switch err := reply.Err(); {
		case err == nil && answered:
		case err == nil:
			return nil, fmt.Errorf("redis gave no answer: %w", execErr)
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			missed = append(missed, bells[i])
		default:
			return nil, err
		}
	}
	return missed, nil
}

// queueNames returns each bell's queue once, for the chime.
func queueNames(bells []Bell) string {
	var names []string
	for _, b := range bells {
		if !slices.Contains(names, string(b.Queue)) {
			names = append(names, string(b.Queue))
		}
	}
	return strings.Join(names, " ")
}

func (b Bell) task() (*asynq.Task, error) {
	data, err := b.encode()
	if err != nil {
		return nil, err
	}
	if b.Queue == "" {
		return nil, errors.New("bell without a queue")
	}
	opts := []asynq.Option{asynq.Queue(string(b.Queue)), asynq.MaxRetry(maxRetry), asynq.Timeout(Timeout)}
	if id := b.taskID(); id != "" {
		opts = append(opts, asynq.TaskID(id))
	}
	return asynq.NewTask(TypeDeliver, data, opts...), nil
}

// recorder lets asynq encode its tasks and run its scripts, but collects the
// commands in a pipeline instead of sending each. asynq 0.26 has no batch
// enqueue; all that its Enqueue asks of the client is overridden here.
type recorder struct {
	redis.UniversalClient

	pipe     redis.Pipeliner
	withText bool
	replies  []*redis.Cmd
}

// EvalSha records the script by its hash, or pretends that it is missing so
// that go-redis asks again with its text.
func (r *recorder) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if r.withText {
		c := redis.NewCmd(ctx)
		c.SetErr(redis.ErrNoScript)
		return c
	}
	return r.record(ctx, r.pipe.EvalSha(ctx, sha, keys, args...))
}

// Eval records the script with its text.
func (r *recorder) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	return r.record(ctx, r.pipe.Eval(ctx, script, keys, args...))
}

// SAdd publishes the queue's name. It is recorded with every pipeline, not once
// per process as asynq has it, so that a Redis that was emptied learns it again.
func (r *recorder) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	r.pipe.SAdd(ctx, key, members...)
	return redis.NewIntResult(1, nil)
}

func (r *recorder) record(ctx context.Context, reply *redis.Cmd) *redis.Cmd {
	r.replies = append(r.replies, reply)
	c := redis.NewCmd(ctx)
	c.SetVal(int64(1))
	return c
}
