package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// orphanAge is how long a task must have been active without a lease, or
	// its lease be over, before the Sweeper steps in: by then asynq's own
	// recoverer would have.
	orphanAge = 2 * time.Minute
	// sweepLimit bounds what one sweep looks at in one list.
	sweepLimit = 10_000
	sweepChunk = 500
)

// Sweeper mends two states that asynq never leaves by itself:
//
//   - ghosts: ids in a queue's lists whose task is gone (evicted, deleted by
//     hand). A ghost is "active" for ever and makes asynqmon fail. It is removed.
//   - orphans: tasks that are active but have no lease, which nobody recovers.
//     After two minutes they go back to their queue; if somebody does still
//     work on one, its claim in PostgreSQL keeps a second answer harmless.
//
// It remembers orphans between sweeps, so one Sweeper is to be called again and
// again, by one process at a time (several do no harm).
type Sweeper struct {
	redis         redis.UniversalClient
	now           func() time.Time
	removeGhost   *redis.Script
	requeueOrphan *redis.Script
	orphans       map[Queue]map[string]time.Time
}

// NewSweeper wraps a client, which stays the caller's to close.
func NewSweeper(c redis.UniversalClient, now func() time.Time) *Sweeper {
	return &Sweeper{
		redis: c, now: now, orphans: make(map[Queue]map[string]time.Time),
		removeGhost: redis.NewScript(removeGhost), requeueOrphan: redis.NewScript(requeueOrphan),
	}
}

// Sweep looks through every queue and returns how many ids it mended.
func (s *Sweeper) Sweep(ctx context.Context) (mended int, err error) {
	for _, q := range AllQueues() {
		ghosts, err := s.sweepGhosts(ctx, q)
		if err != nil {
			return mended, fmt.Errorf("sweeping ghosts of %s: %w", q, err)
		}
		orphans, err := s.sweepOrphans(ctx, q)
		if err != nil {
			return mended, fmt.Errorf("sweeping orphans of %s: %w", q, err)
		}
		mended += ghosts + orphans
	}
	return mended, nil
}

// removeGhost asks again, atomically, before it removes.
const removeGhost = `
if redis.call("HEXISTS", KEYS[1], "msg") == 1 then return 0 end
for i = 2, 3 do redis.call("LREM", KEYS[i], 0, ARGV[1]) end
for i = 4, 7 do redis.call("ZREM", KEYS[i], ARGV[1]) end
redis.call("DEL", KEYS[1])
return 1`

func (s *Sweeper) sweepGhosts(ctx context.Context, q Queue) (removed int, err error) {
	ids, err := s.listed(ctx, q)
	if err != nil {
		return 0, err
	}
	for some := range slices.Chunk(ids, sweepChunk) {
		ghosts, err := s.ghosts(ctx, q, some)
		if err != nil {
			return removed, err
		}
		for _, id := range ghosts {
			n, err := s.removeGhost.Run(ctx, s.redis, []string{
				q.taskKey(id), q.key("pending"), q.key("active"),
				q.key("lease"), q.key("retry"), q.key("scheduled"), q.key("archived"),
			}, id).Int()
			if err != nil {
				return removed, fmt.Errorf("removing ghost: %w", err)
			}
			removed += n
		}
	}
	return removed, nil
}

// ghosts returns those of ids that have no task.
func (s *Sweeper) ghosts(ctx context.Context, q Queue, ids []string) ([]string, error) {
	pipe := s.redis.Pipeline()
	has := make([]*redis.BoolCmd, len(ids))
	for i, id := range ids {
		has[i] = pipe.HExists(ctx, q.taskKey(id), "msg")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("looking for tasks: %w", err)
	}
	var ghosts []string
	for i, id := range ids {
		if !has[i].Val() {
			ghosts = append(ghosts, id)
		}
	}
	return ghosts, nil
}

// listed returns the ids in a queue's lists, up to sweepLimit of each, those
// that asynq will touch next first.
func (s *Sweeper) listed(ctx context.Context, q Queue) ([]string, error) {
	pipe := s.redis.Pipeline()
	lists := []*redis.StringSliceCmd{
		pipe.LRange(ctx, q.key("pending"), -sweepLimit, -1),
		pipe.LRange(ctx, q.key("active"), -sweepLimit, -1),
		pipe.ZRange(ctx, q.key("lease"), 0, sweepLimit-1),
		pipe.ZRange(ctx, q.key("retry"), 0, sweepLimit-1),
		pipe.ZRange(ctx, q.key("scheduled"), 0, sweepLimit-1),
		pipe.ZRange(ctx, q.key("archived"), 0, sweepLimit-1),
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("listing tasks: %w", err)
	}
	var ids []string
	for _, l := range lists {
		ids = append(ids, l.Val()...)
	}
	return ids, nil
}

// requeueOrphan asks again, atomically: still active, still without a lease.
const requeueOrphan = `
if redis.call("ZSCORE", KEYS[3], ARGV[1]) then return 0 end
if redis.call("LREM", KEYS[2], 0, ARGV[1]) == 0 then return 0 end
redis.call("RPUSH", KEYS[4], ARGV[1])
redis.call("HSET", KEYS[1], "state", "pending", "pending_since", ARGV[2])
return 1`

func (s *Sweeper) sweepOrphans(ctx context.Context, q Queue) (int, error) {
	now := s.now()
	unleased, err := s.unleased(ctx, q, now)
	if err != nil {
		return 0, err
	}
	seen := make(map[string]time.Time, len(unleased))
	requeued := 0
	for _, id := range unleased {
		since, known := s.orphans[q][id]
		if !known {
			since = now
		}
		if now.Sub(since) < orphanAge {
			seen[id] = since
			continue
		}
		keys := []string{q.taskKey(id), q.key("active"), q.key("lease"), q.key("pending")}
		n, err := s.requeueOrphan.Run(ctx, s.redis, keys, id, now.UnixNano()).Int()
		if err != nil {
			return requeued, fmt.Errorf("requeueing orphan: %w", err)
		}
		requeued += n
	}
	s.orphans[q] = seen
	return requeued, nil
}

// unleased returns the active ids without a lease. On the way it drops leases
// that are long over and belong to no active task: asynq's recoverer would
// stumble over them for ever.
func (s *Sweeper) unleased(ctx context.Context, q Queue, now time.Time) ([]string, error) {
	pipe := s.redis.Pipeline()
	active := pipe.LRange(ctx, q.key("active"), -sweepLimit, -1)
	leases := pipe.ZRangeWithScores(ctx, q.key("lease"), 0, sweepLimit-1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("listing active tasks: %w", err)
	}
	isActive := make(map[string]bool, len(active.Val()))
	for _, id := range active.Val() {
		isActive[id] = true
	}
	leased := make(map[string]bool, len(leases.Val()))
	var stale []any
	for _, z := range leases.Val() {
		id, _ := z.Member.(string)
		leased[id] = true
		if !isActive[id] && len(isActive) < sweepLimit && z.Score < float64(now.Add(-orphanAge).Unix()) {
			stale = append(stale, id)
		}
	}
	if len(stale) > 0 {
		if err := s.redis.ZRem(ctx, q.key("lease"), stale...).Err(); err != nil {
			return nil, fmt.Errorf("dropping stale leases: %w", err)
		}
	}
	var unleased []string
	for _, id := range active.Val() {
		if !leased[id] && len(leased) < sweepLimit {
			unleased = append(unleased, id)
		}
	}
	return unleased, nil
}
