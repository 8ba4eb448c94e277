package dev

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack"
)

// servers are PostgreSQL and Redis: ours, or those that the environment names.
type servers struct {
	databaseURL, redisURL string
	stack                 *devstack.Stack // nil when both were named
}

const startTimeout = 90 * time.Second

// startServers starts what is not named.
//
// Where only one is named, both private ones start, and the other of them idles:
// a rare case is not worth a second way of starting.
func (s *session) startServers(ctx context.Context) (*servers, error) {
	named := servers{databaseURL: s.out.Getenv("DATABASE_URL"), redisURL: s.out.Getenv("REDIS_URL")}
	if named.databaseURL != "" && named.redisURL != "" {
		s.step("PostgreSQL and Redis of DATABASE_URL and REDIS_URL")
		return &named, nil
	}
	log, err := s.logs.logger("servers")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, fmt.Errorf("servers not up within %s", startTimeout))
	defer cancel()
	stack, err := devstack.Start(ctx, devstack.Config{Dir: s.cmd.Dir, Keep: true, Durable: true, Log: log})
	if err != nil {
		return nil, fmt.Errorf("starting private servers: %w", err)
	}
	started := &servers{databaseURL: stack.DatabaseURL(), redisURL: stack.RedisURL(), stack: stack}
	what := []string{"private PostgreSQL " + stack.Postgres.Version(), "private Redis " + stack.Redis.Version()}
	if named.databaseURL != "" {
		started.databaseURL, what[0] = named.databaseURL, "PostgreSQL of DATABASE_URL"
	}
	if named.redisURL != "" {
		started.redisURL, what[1] = named.redisURL, "Redis of REDIS_URL"
	}
	s.step("%s, data in %s", strings.Join(what, ", "), s.cmd.Dir)
	return started, nil
}

func (s *session) stopServers(ctx context.Context) error {
	if s.servers.stack == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), serversGrace)
	defer cancel()
	if err := s.servers.stack.Stop(ctx); err != nil {
		return fmt.Errorf("stopping private servers: %w", err)
	}
	s.out.Printf("%s", s.out.Dim("stopped; data stay in "+s.cmd.Dir))
	return nil
}

// wait ends with an error when a private server ends by itself.
func (s *servers) wait(ctx context.Context) error {
	if s.stack == nil {
		return nil
	}
	if err := s.stack.Wait(ctx); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return nil
}
