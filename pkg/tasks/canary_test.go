package tasks

import (
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
)

// I2: Redis may be emptied at any moment, and it is noticed.
func TestCanary_I2_noticesARedisThatForgot(t *testing.T) {
	t.Parallel()
	for name, forget := range map[string]func(t *testing.T, c redis.UniversalClient){
		"everything": func(t *testing.T, c redis.UniversalClient) { t.Helper(); do(t, c.FlushDB(t.Context()).Err()) },
		"one slot": func(t *testing.T, c redis.UniversalClient) {
			t.Helper()
			do(t, c.Del(t.Context(), Queue("deliver-2").canaryKey()).Err())
		},
		"the last writes": func(t *testing.T, c redis.UniversalClient) {
			t.Helper()
			do(t, c.HIncrBy(t.Context(), Bulk.canaryKey(), countField, -1).Err())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := connect(t)
			canary := NewCanary(c)
			check(t, canary, true) // a Redis that was never used
			plant(t, canary)
			plant(t, canary)
			check(t, canary, false)
			forget(t, c)
			check(t, canary, true)
			check(t, canary, true) // until it is planted anew
			plant(t, canary)
			check(t, canary, false)
			if known := c.SCard(t.Context(), queuesKey).Val(); known != Shards+2 {
				t.Errorf("asynq knows %d queues after planting", known)
			}
		})
	}
}

func TestCanary_anotherProcessPlantsToo(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	a, b := NewCanary(c), NewCanary(c)
	plant(t, a)
	check(t, b, false)
	plant(t, b)
	check(t, a, false)
	do(t, c.FlushDB(t.Context()).Err())
	plant(t, b) // b makes good what it did not see; a still notices
	check(t, a, true)
}

func TestCanary_redisAwayIsNoLoss(t *testing.T) {
	t.Parallel()
	_, raw := connect(t)
	_, through := newGate(t, raw)
	canary := NewCanary(connectTo(t, through))
	if lost, err := canary.Check(t.Context()); lost || err == nil {
		t.Errorf("Check = %t, %v; want an error and no loss", lost, err)
	}
	if err := canary.Plant(t.Context()); err == nil {
		t.Error("planted in a Redis that is away")
	}
}

func TestSweeper_removesGhosts(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	ring(t, c, Bell{Queue: Bulk, Deliveries: deliveries(1)}) // an honest one
	for _, list := range []string{"pending", "active"} {
		do(t, c.LPush(t.Context(), Bulk.key(list), "ghost-"+list).Err())
	}
	for _, set := range []string{"lease", "retry", "scheduled", "archived"} {
		do(t, c.ZAdd(t.Context(), Bulk.key(set), redis.Z{Score: float64(time.Now().Unix()), Member: "ghost-" + set}).Err())
	}
	do(t, c.HSet(t.Context(), Bulk.taskKey("ghost-active"), "state", "active").Err()) // what asynq's dequeue leaves
	inspector := asynq.NewInspectorFromRedisClient(c)
	if _, err := inspector.GetQueueInfo(string(Bulk)); err == nil {
		t.Log("the Inspector copes with ghosts now: ReadStats could use it")
	}
	if _, err := ReadStats(t.Context(), c, time.Now()); err != nil {
		t.Errorf("stats with ghosts around: %v", err)
	}
	if n, err := NewSweeper(c, time.Now).Sweep(t.Context()); n != 6 || err != nil {
		t.Errorf("Sweep = %d, %v; want 6", n, err)
	}
	info, err := inspector.GetQueueInfo(string(Bulk))
	if err != nil || info.Size != 1 || info.Pending != 1 {
		t.Errorf("queue after the sweep: %+v, %v", info, err)
	}
	if n, err := NewSweeper(c, time.Now).Sweep(t.Context()); n != 0 || err != nil {
		t.Errorf("second Sweep = %d, %v; want 0", n, err)
	}
}

func TestSweeper_requeuesOrphansAfterTwoMinutes(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	own := Bell{Queue: Bulk, Deliveries: deliveries(1), Attempt: 1, Own: true}
	id := own.taskID()
	ring(t, c, own)
	do(t, c.LMove(t.Context(), Bulk.key("pending"), Bulk.key("active"), "RIGHT", "LEFT").Err())
	do(t, c.ZAdd(t.Context(), Bulk.key("lease"), redis.Z{Score: 1, Member: "stale"}).Err())
	do(t, c.HSet(t.Context(), Bulk.taskKey("stale"), "msg", "x").Err())

	now := time.Now()
	s := NewSweeper(c, func() time.Time { return now })
	sweep := func(want int) {
		t.Helper()
		if n, err := s.Sweep(t.Context()); n != want || err != nil {
			t.Fatalf("Sweep = %d, %v; want %d", n, err, want)
		}
	}
	sweep(0)
	if n := c.ZCard(t.Context(), Bulk.key("lease")).Val(); n != 0 {
		t.Errorf("%d stale leases left", n)
	}
	now = now.Add(orphanAge - time.Second)
	sweep(0)
	// A lease in between starts the wait anew.
	do(t, c.ZAdd(t.Context(), Bulk.key("lease"), redis.Z{Score: float64(now.Unix()), Member: id}).Err())
	now = now.Add(time.Minute)
	sweep(0)
	do(t, c.ZRem(t.Context(), Bulk.key("lease"), id).Err())
	sweep(0)
	now = now.Add(orphanAge)
	sweep(1)
	h, bells := collect()
	serve(t, c, h)
	if b := receive(t, "requeued bell", bells); b.taskID() != id {
		t.Errorf("got %+v", b)
	}
}

func TestCollector(t *testing.T) {
	t.Parallel()
	c, raw := connect(t)
	ring(t, c, Bell{Queue: Bulk, Deliveries: deliveries(1)})
	stats, err := ReadStats(t.Context(), c, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range stats {
		if s.Queue == Bulk && (s.Pending != 1 || s.Latency < 59*time.Second || s.Latency > 2*time.Minute) {
			t.Errorf("bulk: %+v", s)
		}
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(c))
	if n, err := testutil.GatherAndCount(registry); err != nil || n != 1+len(AllQueues())*8 {
		t.Errorf("gathered %d metrics, %v", n, err)
	}
	_, through := newGate(t, raw)
	away := prometheus.NewPedanticRegistry()
	away.MustRegister(NewCollector(connectTo(t, through)))
	if n, err := testutil.GatherAndCount(away); err != nil || n != 1 {
		t.Errorf("with Redis away: gathered %d metrics, %v", n, err)
	}
}

func check(t *testing.T, c *Canary, want bool) {
	t.Helper()
	if lost, err := c.Check(t.Context()); lost != want || err != nil {
		t.Errorf("Check = %t, %v; want %t", lost, err, want)
	}
}

func plant(t *testing.T, c *Canary) { t.Helper(); do(t, c.Plant(t.Context())) }

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
