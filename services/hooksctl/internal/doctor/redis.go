package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

const (
	// roomInRedis is the share of maxmemory at which to act: a full Redis stops
	// taking tasks and giving them out.
	roomInRedis = 0.6
	lateBell    = time.Minute
)

func checkRedis(ctx context.Context, url string, timeout time.Duration) []finding {
	tasks.RouteClientLog(slog.New(slog.DiscardHandler))
	client, err := tasks.Connect(url)
	if err != nil {
		return []finding{{fail, err.Error(), "correct REDIS_URL"}}
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := tasks.Ping(ctx, client); err != nil {
		return []finding{{fail, "Redis is not reachable: " + err.Error(), "start it, or correct REDIS_URL (host, port, password, rediss:// for TLS)"}}
	}
	var findings []finding
	var mu sync.Mutex // masters are asked concurrently
	err = eachMaster(ctx, client, func(ctx context.Context, master *redis.Client) error {
		found, err := checkMaster(ctx, master)
		mu.Lock()
		findings = append(findings, found...)
		mu.Unlock()
		return err
	})
	if err != nil {
		return append(findings, finding{fail, err.Error(), "let the user of REDIS_URL run INFO and TIME"})
	}
	return append(findings, queues(ctx, client)...)
}

func eachMaster(ctx context.Context, client redis.UniversalClient, check func(context.Context, *redis.Client) error) error {
	switch c := client.(type) {
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, check)
	case *redis.Client:
		return check(ctx, c)
	default:
		return fmt.Errorf("inspecting redis: unknown client %T", client)
	}
}

func checkMaster(ctx context.Context, c *redis.Client) ([]finding, error) {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("inspecting redis: %w", err)
	}
	asked := time.Now()
	its, err := c.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("asking redis for its time: %w", err)
	}
	info := parseInfo(text)
	return append(aboutRedis(info), clock("Redis", its, asked, time.Now())), nil
}

// parseInfo reads the lines of INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// aboutRedis judges one server by its INFO, which managed services allow where
// they forbid CONFIG.
func aboutRedis(info map[string]string) []finding {
	var findings []finding
	if version := info["redis_version"]; atLeast(version, 6, 2) {
		findings = append(findings, good("Redis %s", version))
	} else {
		findings = append(findings, finding{fail, "Redis is " + version, "upgrade to 6.2 or newer"})
	}
	if policy := info["maxmemory_policy"]; policy == "noeviction" {
		findings = append(findings, good("Redis evicts nothing"))
	} else {
		findings = append(findings, finding{fail, "Redis may throw tasks away when it is full (maxmemory-policy " + policy + ")", "set maxmemory-policy noeviction"})
	}
	findings = append(findings, persistence(info))
	if f, full := memory(info); full {
		findings = append(findings, f)
	}
	return findings
}

func persistence(info map[string]string) finding {
	if info["aof_enabled"] != "1" {
		return finding{warn, "Redis keeps no append-only file", "set appendonly yes: without it a restart delays what was queued until the relay has rung again; nothing is lost"}
	}
	if info["aof_last_write_status"] == "err" {
		return finding{fail, "Redis cannot write its append-only file", "look at its log and its disk"}
	}
	return good("Redis writes an append-only file")
}

func memory(info map[string]string) (finding, bool) {
	used, _ := strconv.ParseFloat(info["used_memory"], 64)
	most, _ := strconv.ParseFloat(info["maxmemory"], 64)
	if most == 0 || used < roomInRedis*most {
		return finding{}, false
	}
	return finding{
		warn, fmt.Sprintf("Redis has used %.0f %% of maxmemory", 100*used/most),
		"raise maxmemory, and find out what else uses this Redis: our queues need a few MiB",
	}, true
}

// atLeast compares the first two numbers of a version.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, errA := strconv.Atoi(first)
	b, errB := strconv.Atoi(second)
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}

// queues reports the sizes, and a queue that nobody empties.
func queues(ctx context.Context, client redis.UniversalClient) []finding {
	stats, err := tasks.ReadStats(ctx, client, time.Now())
	if err != nil {
		return []finding{{fail, err.Error(), "let the user of REDIS_URL read keys that start with asynq:"}}
	}
	var findings []finding
	var pending, active, later, archived int64
	for _, q := range stats {
		pending, active, later, archived = pending+q.Pending, active+q.Active, later+q.Retry+q.Scheduled, archived+q.Archived
		if q.Latency > lateBell {
			findings = append(findings, finding{
				warn, fmt.Sprintf("queue %s: %d bells, the oldest %s old", q.Queue, q.Pending, q.Latency.Round(time.Second)),
				"start a worker, or more of them",
			})
		}
	}
	return append(findings, good("queues: %d pending, %d active, %d for later, %d archived", pending, active, later, archived))
}
