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

// adviceOnReplica is for a server that is not the one to write to.
const adviceOnReplica = "point REDIS_URL to the primary, or name the sentinels, who know it: redis-sentinel://"

func checkRedis(ctx context.Context, url string, limit time.Duration) []finding {
	tasks.RouteClientLog(slog.New(slog.DiscardHandler))
	client, err := tasks.Connect(url)
	if err != nil {
		return []finding{{fail, err.Error(), "correct REDIS_URL"}}
	}
	defer client.Close()
	x := examination{"REDIS_URL", limit}
	if away := x.try(ctx, "Redis is not reachable", func(ctx context.Context) ([]finding, error) {
		return nil, tasks.Ping(ctx, client)
	}); len(away) > 0 {
		return away
	}
	findings := x.try(ctx, "asking Redis about itself", onEachMaster(client, inspectMaster))
	findings = append(findings, x.try(ctx, "asking Redis for its time", onEachMaster(client, compareClocks))...)
	return append(findings, x.try(ctx, "reading the queues", func(ctx context.Context) ([]finding, error) {
		stats, err := tasks.ReadStats(ctx, client, time.Now())
		if err != nil {
			return nil, err
		}
		return queues(stats), nil
	})...)
}

// onEachMaster makes one check of a check of one server. Masters are asked
// concurrently.
func onEachMaster(client redis.UniversalClient, check func(context.Context, *redis.Client) ([]finding, error)) func(context.Context) ([]finding, error) {
	return func(ctx context.Context) ([]finding, error) {
		var findings []finding
		var mu sync.Mutex
		err := eachMaster(ctx, client, func(ctx context.Context, master *redis.Client) error {
			found, err := check(ctx, master)
			mu.Lock()
			defer mu.Unlock()
			findings = append(findings, found...)
			return err
		})
		return findings, err
	}
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

func inspectMaster(ctx context.Context, c *redis.Client) ([]finding, error) {
	text, err := c.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	info := parseInfo(text)
	findings := aboutRedis(info)
	if info["rdb_last_bgsave_status"] == "err" {
		findings = append(findings, aboutFailedSave(readSettings(ctx, c, "stop-writes-on-bgsave-error", "save")))
	}
	return findings, nil
}

// readSettings returns nothing where they may not be read.
func readSettings(ctx context.Context, c *redis.Client, names ...string) map[string]string {
	settings := map[string]string{}
	for _, name := range names {
		values, err := c.ConfigGet(ctx, name).Result()
		if err != nil {
			return nil
		}
		settings[name] = values[name]
	}
	return settings
}

func compareClocks(ctx context.Context, c *redis.Client) ([]finding, error) {
	asked := time.Now()
	its, err := c.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	return []finding{clock("Redis", its, asked, time.Now())}, nil
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
	if info["role"] == "slave" {
		findings = append(findings, finding{fail, "Redis is a replica: it takes no tasks", adviceOnReplica})
	}
	findings = append(findings, persistence(info))
	if f, full := memory(info); full {
		findings = append(findings, f)
	}
	return findings
}

// aboutFailedSave judges a snapshot that could not be written, by the settings
// that say whether Redis takes writes nevertheless. Unknown ones are taken for
// Redis's own, which refuse.
func aboutFailedSave(settings map[string]string) finding {
	const advice = "look at its log and its disk: a snapshot that succeeds (BGSAVE) ends it"
	if save, known := settings["save"]; settings["stop-writes-on-bgsave-error"] == "no" || known && save == "" {
		return finding{warn, "Redis could not write its last snapshot", advice}
	}
	return finding{fail, "Redis could not write its last snapshot, and takes no tasks until it can (stop-writes-on-bgsave-error)", advice}
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
	const advice = "raise maxmemory, and find out what else uses this Redis: our queues need a few MiB"
	used, _ := strconv.ParseFloat(info["used_memory"], 64)
	most, _ := strconv.ParseFloat(info["maxmemory"], 64)
	switch {
	case most == 0 || used < roomInRedis*most:
		return finding{}, false
	case used >= most:
		return finding{fail, "Redis is full (maxmemory): it takes no tasks", advice}, true
	default:
		return finding{warn, fmt.Sprintf("Redis has used %.0f %% of maxmemory", 100*used/most), advice}, true
	}
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
func queues(stats []tasks.QueueStats) []finding {
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
