package tasks

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// chimeChannel carries the names of queues that were just rung.
//
// asynq polls: to be quick it must ask Redis hundreds of times a second for
// nothing. With the chime an idle worker waits for a word instead, and is
// quicker still. A word that is lost costs maxPark, not a bell.
const chimeChannel = "hooks:ring"

// maxPark is how long an idle worker goes without looking when it hears nothing. Six
// queues are looked into by each worker, and nearly all that an idle one costs are
// these looks.
const maxPark = 250 * time.Millisecond

// resubscribeAfter keeps a client that is closed, or a server that refuses, from
// being asked all the time.
const resubscribeAfter = 200 * time.Millisecond

// chime wakes the workers of a process.
type chime struct {
	wake     map[Queue]chan struct{}
	stop     chan struct{}
	patience time.Duration
}

func newChime() *chime {
	c := &chime{wake: make(map[Queue]chan struct{}), stop: make(chan struct{}), patience: maxPark}
	for _, q := range AllQueues() {
		// One is enough: a worker looks until its queue is empty.
		c.wake[q] = make(chan struct{}, 1)
	}
	return c
}

// listen runs until stop is closed. The client reconnects by itself; should it
// give a subscription up all the same, there is a new one.
func (c *chime) listen(ctx context.Context, r redis.UniversalClient) {
	for {
		c.hear(ctx, r)
		again := time.NewTimer(resubscribeAfter)
		select {
		case <-c.stop:
			again.Stop()
			return
		case <-again.C:
		}
	}
}

// hear passes on what one subscription tells, until it or stop is closed.
func (c *chime) hear(ctx context.Context, r redis.UniversalClient) {
	sub := r.Subscribe(ctx, chimeChannel)
	defer sub.Close()
	messages := sub.Channel()
	for {
		select {
		case <-c.stop:
			return
		case m, open := <-messages:
			if !open {
				return
			}
			for name := range strings.FieldsSeq(m.Payload) {
				select {
				case c.wake[Queue(name)] <- struct{}{}:
				default: // awake already, or no queue of ours
				}
			}
		}
	}
}

// client returns what the asynq server of a queue talks to Redis through.
func (c *chime) client(r redis.UniversalClient, q Queue, g *Gate) redis.UniversalClient {
	return &parkingClient{UniversalClient: r, gate: g, wake: c.wake[q], stop: c.stop, patience: c.patience}
}

// parkingClient makes asynq's look into an empty queue wait for the chime, which
// asynq does not sound itself: when it moves bells whose time has come, this does.
// Behind a gate that is shut, every queue is empty.
type parkingClient struct {
	redis.UniversalClient

	gate     *Gate
	wake     chan struct{}
	stop     <-chan struct{}
	patience time.Duration
}

// EvalSha runs a script; a dequeue that finds nothing is tried again when the
// chime sounds, and given up when patience ends.
func (c *parkingClient) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if isDequeue(keys) && !c.pass() {
		nothing := redis.NewCmd(ctx)
		nothing.SetErr(redis.Nil)
		return nothing
	}
	reply := c.UniversalClient.EvalSha(ctx, sha, keys, args...)
	if moved, ok := reply.Val().(int64); ok && moved > 0 && isForward(keys) {
		say(c.wake)
	}
	if !isDequeue(keys) || !errors.Is(reply.Err(), redis.Nil) {
		return reply
	}
	enough := time.NewTimer(c.patience)
	defer enough.Stop()
	for {
		select {
		case <-c.wake:
			if c.gate.passage() != nil {
				return reply
			}
			reply = c.UniversalClient.EvalSha(ctx, sha, keys, args...)
			if !errors.Is(reply.Err(), redis.Nil) {
				return reply
			}
		case <-enough.C:
			return reply
		case <-c.stop:
			return reply
		}
	}
}

// pass waits for the gate to open, and reports whether it is.
func (c *parkingClient) pass() bool {
	opened := c.gate.passage()
	if opened == nil {
		return true
	}
	enough := time.NewTimer(c.patience)
	defer enough.Stop()
	select {
	case <-opened:
		return true
	case <-enough.C:
		return false
	case <-c.stop:
		return false
	}
}

// isForward knows asynq's script that moves bells, and returns how many, by its keys.
func isForward(keys []string) bool {
	return len(keys) == 2 && strings.HasSuffix(keys[1], ":pending") &&
		(strings.HasSuffix(keys[0], ":retry") || strings.HasSuffix(keys[0], ":scheduled"))
}

// isDequeue knows asynq's dequeue script by its keys.
func isDequeue(keys []string) bool {
	return len(keys) == 4 && strings.HasSuffix(keys[0], ":pending") && strings.HasSuffix(keys[1], ":paused")
}
