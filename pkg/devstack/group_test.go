package devstack_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

// group is what a Redis of several servers has.
type group interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
	URL() string
}

func TestRedisSentinel_promotesAReplica(t *testing.T) {
	t.Parallel()
	g, err := devstack.NewRedisSentinel(devstack.RedisConfig{Dir: filepath.Join(t.TempDir(), "g")})
	if err != nil {
		t.Fatal(err)
	}
	testFailover(t, g, func(ctx context.Context) (*devstack.Redis, error) { return g.Primary(ctx) })
}

func TestRedisCluster_promotesAReplica(t *testing.T) {
	t.Parallel()
	g, err := devstack.NewRedisCluster(devstack.RedisConfig{Dir: filepath.Join(t.TempDir(), "g")})
	if err != nil {
		t.Fatal(err)
	}
	testFailover(t, g, func(context.Context) (*devstack.Redis, error) { return g.Masters()[1], nil })
}

// testFailover writes by the URL that the services would get, before and after a
// server is killed, and starts that server again.
func testFailover(t *testing.T, g group, victim func(context.Context) (*devstack.Redis, error)) {
	t.Helper()
	ctx := testContext(t)
	if err := g.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stopping, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := g.Stop(stopping); err != nil {
			t.Error(err)
		}
	})
	client, err := tasks.Connect(g.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	writeAll(t, client)
	gone, err := victim(ctx)
	if err == nil {
		err = gone.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	writeAll(t, client)
	t.Logf("written again after %s", time.Since(killed))
	if err := gone.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// writeAll writes to as many keys as touches every master, until all is written.
func writeAll(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var errs []error
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			errs = append(errs, client.Set(ctx, key, "1", 0).Err())
		}
		err := errors.Join(errs...)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}
