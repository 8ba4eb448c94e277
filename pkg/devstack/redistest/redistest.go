// Package redistest gives each test a Redis database of its own.
//
// Databases are numbers, because the keys of asynq take no prefix. Publishing
// knows no databases: what one test publishes every test can hear. And
// FLUSHALL empties them all: a test that wants an empty Redis says FLUSHDB.
package redistest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// urlVar names the server; `make test` starts one and sets it.
	urlVar = "TEST_REDIS_URL"
	// nextKey counts, in database 0, the databases handed out.
	nextKey = "redistest:next"
	timeout = 10 * time.Second
)

// New returns the URL of an empty Redis database, emptied again when the test ends.
func New(t testing.TB) string {
	t.Helper()
	server := os.Getenv(urlVar)
	if server == "" {
		t.Fatal(urlVar + " is not set: run `make test`, or `make servers` in one terminal and `. .run/servers/env` in this one")
	}
	opts, err := redis.ParseURL(server)
	if err != nil {
		t.Fatalf("%s: %v", urlVar, err)
	}
	number, err := nextNumber(opts)
	if err != nil {
		t.Fatalf("taking a Redis database: %v", err)
	}
	opts.DB = number
	if err := flush(opts); err != nil {
		t.Fatalf("emptying a Redis database: %v", err)
	}
	t.Cleanup(func() {
		if err := flush(opts); err != nil {
			t.Errorf("emptying a Redis database: %v", err)
		}
	})
	return databaseURL(opts)
}

func nextNumber(opts *redis.Options) (int, error) {
	var number int
	err := withClient(opts, func(ctx context.Context, c *redis.Client) error {
		settings, err := c.ConfigGet(ctx, "databases").Result()
		if err != nil {
			return fmt.Errorf("asking for the number of databases: %w", err)
		}
		databases, err := strconv.Atoi(settings["databases"])
		if err != nil || databases < 2 {
			return fmt.Errorf("server has %q databases: tests need more than one", settings["databases"])
		}
		n, err := c.Incr(ctx, nextKey).Result()
		if err != nil {
			return fmt.Errorf("counting databases: %w", err)
		}
		number = 1 + int(n%int64(databases-1))
		return nil
	})
	return number, err
}

func flush(opts *redis.Options) error {
	return withClient(opts, func(ctx context.Context, c *redis.Client) error { return c.FlushDB(ctx).Err() })
}

func withClient(opts *redis.Options, f func(context.Context, *redis.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	own := *opts
	client := redis.NewClient(&own)
	defer client.Close()
	return f(ctx, client)
}

func databaseURL(opts *redis.Options) string {
	u := url.URL{Scheme: "redis", User: url.UserPassword(opts.Username, opts.Password), Host: opts.Addr, Path: "/" + strconv.Itoa(opts.DB)}
	return u.String()
}
