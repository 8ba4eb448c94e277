package tasks

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// commandLimit is how long one command may take in all: to get a connection, to
	// dial for it, to be answered, and to be tried again. Left to itself the library
	// goes on for a minute when a network swallows everything, and whoever waits for
	// it notices neither that Redis is back nor that the process is to end.
	commandLimit = ioTimeout + dialTimeout
	// lastLimit holds from a server's stop on: what it then has to tell Redis can be
	// found out by others, too.
	lastLimit = 2 * time.Second
)

// limit bounds commands whose callers do not. Several may be in force; the
// shortest one counts.
type limit time.Duration

// DialHook leaves dialling alone; the command that waits for it is bounded.
func (l limit) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook bounds a command.
func (l limit) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(l))
		defer cancel()
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook bounds a pipeline.
func (l limit) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(l))
		defer cancel()
		return next(ctx, cmds)
	}
}
