package redistest_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
)

func TestNew_givesEachTestItsOwn(t *testing.T) {
	t.Parallel()
	var last string
	t.Run("inner", func(t *testing.T) {
		for range 8 {
			url := redistest.New(t)
			c := client(t, url)
			if got, err := c.Incr(t.Context(), "counter").Result(); err != nil || got != 1 {
				t.Fatalf("first INCR = %d, %v, want 1 in a database of its own", got, err)
			}
			last = url
		}
	})
	if n, err := client(t, last).DBSize(context.Background()).Result(); err != nil || n != 0 {
		t.Errorf("%d keys after the test, %v, want 0", n, err)
	}
}

func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(opts)
	t.Cleanup(func() { _ = c.Close() })
	return c
}
