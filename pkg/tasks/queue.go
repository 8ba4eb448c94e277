package tasks

import (
	"context"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Queue names one of the queues. There is never a queue per tenant or webhook:
// an idle queue costs every worker a round trip per look.
type Queue string

// Shards is the number of deliver queues. More than one, so that no list of
// active tasks grows long (finishing a task scans it), so that a worker has
// independent fetch loops, and so that a Redis Cluster can share the load: the
// slots of deliver-0 to deliver-3 lie in four different quarters of the slot
// space, whatever the number of masters.
const Shards = 4

// The queues beside the deliver shards.
const (
	Bulk Queue = "bulk" // replays: they may wait
	Test Queue = "test" // test sends: somebody is watching
)

const deliverPrefix = "deliver-"

// QueueFor returns the deliver queue of a webhook, the same in every process.
func QueueFor(w webhook.WebhookID) Queue { return deliverQueue(w.Hash(Shards)) }

// AllQueues returns every queue, deliver shards first.
func AllQueues() []Queue {
	queues := make([]Queue, 0, Shards+2)
	for i := range Shards {
		queues = append(queues, deliverQueue(i))
	}
	return append(queues, Bulk, Test)
}

// PublishQueues makes every queue known to the Inspector and to asynqmon, which
// otherwise learn of a queue from its first task, and forget it with Redis.
func PublishQueues(ctx context.Context, c redis.UniversalClient) error {
	queues := AllQueues()
	names := make([]any, len(queues))
	for i, q := range queues {
		names[i] = string(q)
	}
	if err := c.SAdd(ctx, queuesKey, names...).Err(); err != nil {
		return fmt.Errorf("publishing queue names: %w", err)
	}
	return nil
}

func deliverQueue(shard int) Queue { return Queue(deliverPrefix + strconv.Itoa(shard)) }

// queuesKey and the methods below are asynq's own key names, which its API
// does not offer. The braces keep all keys of a queue in one cluster slot.
const queuesKey = "asynq:queues"

func (q Queue) key(name string) string { return "asynq:{" + string(q) + "}:" + name }
func (q Queue) taskPrefix() string     { return q.key("t:") }
func (q Queue) taskKey(id string) string {
	return q.taskPrefix() + id
}
