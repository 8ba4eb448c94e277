package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// QueueStats is what a queue holds.
type QueueStats struct {
	Queue                             Queue
	Pending, Active, Retry, Scheduled int64
	Archived                          int64
	ProcessedTotal, FailedTotal       int64
	Latency                           time.Duration // age of the oldest pending bell
}

// ReadStats asks Redis for the size of every queue. It reads asynq's lists by
// itself: asynq's own Inspector fails for all queues on a single ghost (see
// Sweeper) and samples memory on every call.
func ReadStats(ctx context.Context, c redis.UniversalClient, now time.Time) ([]QueueStats, error) {
	queues := AllQueues()
	pipe := c.Pipeline()
	replies := make([]statsReplies, len(queues))
	for i, q := range queues {
		replies[i] = statsReplies{
			pending: pipe.LLen(ctx, q.key("pending")), active: pipe.LLen(ctx, q.key("active")),
			retry: pipe.ZCard(ctx, q.key("retry")), scheduled: pipe.ZCard(ctx, q.key("scheduled")),
			archived: pipe.ZCard(ctx, q.key("archived")), oldest: pipe.LIndex(ctx, q.key("pending"), -1),
			processed: pipe.Get(ctx, q.key("processed")), failed: pipe.Get(ctx, q.key("failed")),
		}
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading queue sizes: %w", err)
	}
	since := make([]*redis.StringCmd, len(queues))
	pipe = c.Pipeline()
	for i, q := range queues {
		since[i] = pipe.HGet(ctx, q.taskKey(replies[i].oldest.Val()), "pending_since")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading queue latencies: %w", err)
	}
	stats := make([]QueueStats, len(queues))
	for i, q := range queues {
		stats[i] = replies[i].stats(q)
		if nanos, err := strconv.ParseInt(since[i].Val(), 10, 64); err == nil {
			stats[i].Latency = max(now.Sub(time.Unix(0, nanos)), 0)
		}
	}
	return stats, nil
}

type statsReplies struct {
	pending, active, retry, scheduled, archived *redis.IntCmd
	oldest, processed, failed                   *redis.StringCmd
}

func (r statsReplies) stats(q Queue) QueueStats {
	processed, _ := r.processed.Int64() // no key yet: 0
	failed, _ := r.failed.Int64()
	return QueueStats{
		Queue: q, Pending: r.pending.Val(), Active: r.active.Val(), Retry: r.retry.Val(),
		Scheduled: r.scheduled.Val(), Archived: r.archived.Val(),
		ProcessedTotal: processed, FailedTotal: failed,
	}
}

// scrapeTimeout keeps a scrape from hanging on a Redis that does.
const scrapeTimeout = 2 * time.Second

// Collector offers the queues' sizes to Prometheus, read at each scrape. While
// Redis is away only hooks_redis_up is there, and it is 0.
type Collector struct {
	redis                                 redis.UniversalClient
	up, tasks, latency, processed, failed *prometheus.Desc
}

// NewCollector wraps a client, which stays the caller's to close.
func NewCollector(c redis.UniversalClient) *Collector {
	queue := []string{"queue"}
	return &Collector{
		redis:     c,
		up:        prometheus.NewDesc("hooks_redis_up", "1 if Redis answered this scrape.", nil, nil),
		tasks:     prometheus.NewDesc("hooks_queue_tasks", "Bells in Redis by queue and state.", []string{"queue", "state"}, nil),
		latency:   prometheus.NewDesc("hooks_queue_latency_seconds", "Age of the oldest pending bell.", queue, nil),
		processed: prometheus.NewDesc("hooks_queue_processed_total", "Bells answered or failed.", queue, nil),
		failed:    prometheus.NewDesc("hooks_queue_failed_total", "Bells counted as failed attempts.", queue, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.up, c.tasks, c.latency, c.processed, c.failed} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	all, err := ReadStats(ctx, c.redis, time.Now())
	if err != nil {
		ch <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 0)
		return
	}
	ch <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, 1)
	for _, s := range all {
		queue := string(s.Queue)
		for state, n := range map[string]int64{
			"pending": s.Pending, "active": s.Active, "retry": s.Retry, "scheduled": s.Scheduled, "archived": s.Archived,
		} {
			ch <- prometheus.MustNewConstMetric(c.tasks, prometheus.GaugeValue, float64(n), queue, state)
		}
		ch <- prometheus.MustNewConstMetric(c.latency, prometheus.GaugeValue, s.Latency.Seconds(), queue)
		ch <- prometheus.MustNewConstMetric(c.processed, prometheus.CounterValue, float64(s.ProcessedTotal), queue)
		ch <- prometheus.MustNewConstMetric(c.failed, prometheus.CounterValue, float64(s.FailedTotal), queue)
	}
}
