package tasks

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Canary notices a Redis that forgot: emptied, restarted without its data,
// restored from an older copy, or failed over to a replica that lagged.
//
// It keeps one key in each queue's cluster slot, with a random name and a
// count. A key that is missing, bears another name, or counts less than this
// Canary last saw, means that bells were lost. What was lost before a process
// first planted shows to it as a missing key only.
type Canary struct {
	redis redis.UniversalClient

	mu   sync.Mutex
	seen map[Queue]sighting
}

// sighting is what a canary key held.
type sighting struct {
	name  string
	count int64
}

const (
	nameField  = "name"
	countField = "count"
)

// NewCanary wraps a client, which stays the caller's to close.
func NewCanary(c redis.UniversalClient) *Canary {
	return &Canary{redis: c, seen: make(map[Queue]sighting)}
}

// Check reports whether Redis forgot since the last Plant. It changes nothing,
// so it goes on saying so until Plant. An error is no loss: Redis is away.
func (c *Canary) Check(ctx context.Context) (lost bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pipe := c.redis.Pipeline()
	keys := make(map[Queue]*redis.SliceCmd)
	for _, q := range AllQueues() {
		keys[q] = pipe.HMGet(ctx, q.canaryKey(), nameField, countField)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, fmt.Errorf("checking canary: %w", err)
	}
	for q, reply := range keys {
		name, _ := reply.Val()[0].(string)
		text, _ := reply.Val()[1].(string)
		count, err := strconv.ParseInt(text, 10, 64)
		was, planted := c.seen[q]
		if name == "" || err != nil || planted && (name != was.name || count < was.count) {
			return true, nil
		}
	}
	return false, nil
}

// Plant sets the canary anew, and publishes the queue names, which a Redis that
// forgot has lost too. Call it after every Check, once a loss has been made
// good: the oftener, the smaller a loss Check can see.
func (c *Canary) Plant(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	pipe := c.redis.Pipeline()
	names, counts := make(map[Queue]*redis.StringCmd), make(map[Queue]*redis.IntCmd)
	for _, q := range AllQueues() {
		pipe.HSetNX(ctx, q.canaryKey(), nameField, rand.Text())
		counts[q] = pipe.HIncrBy(ctx, q.canaryKey(), countField, 1)
		names[q] = pipe.HGet(ctx, q.canaryKey(), nameField)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("planting canary: %w", err)
	}
	for q := range names {
		c.seen[q] = sighting{name: names[q].Val(), count: counts[q].Val()}
	}
	return PublishQueues(ctx, c.redis)
}

func (q Queue) canaryKey() string { return "hooks:canary:{" + string(q) + "}" }
