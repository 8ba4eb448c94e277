package main

import (
	"context"
	"errors"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/chaos/proxy"
)

// late is how much later answers come over a slow network.
const late = 300 * time.Millisecond

// networkFaults: what is between the workers and each of those they speak to is
// cut by resets, cut silently, and slowed down.
func networkFaults() []fault {
	var rows []fault
	for _, end := range []struct {
		name, title string
		insert      func(context.Context, *scene) error
		// ambiguous: a receiver whose answer is lost on its way gets the request
		// again, as a further attempt.
		ambiguous bool
	}{
		{name: "redis", title: "Redis", insert: beforeRedis},
		{name: "postgres", title: "PostgreSQL", insert: beforePostgres},
		{name: "receiver", title: "receivers", insert: beforeReceiver, ambiguous: true},
	} {
		for _, kind := range []struct {
			name, title string
			begin       func(*proxy.Proxy) error
			cuts        bool
		}{
			{"reset", "cut (RST) for 8 s", (*proxy.Proxy).Refuse, true},
			{"silent", "cut (black hole) for 8 s", (*proxy.Proxy).Swallow, true},
			{"slow", "answers 300 ms late for 8 s", func(p *proxy.Proxy) error { p.Delay(late); return nil }, false},
		} {
			rows = append(rows, fault{
				name: "net-" + end.name + "-" + kind.name, title: "network workers-" + end.title + ": " + kind.title,
				prepare: end.insert, strands: kind.cuts && end.ambiguous,
				strike: func(ctx context.Context, s *scene) error {
					return breakWire(ctx, s, kind.begin, kind.cuts && end.ambiguous)
				},
			})
		}
	}
	return rows
}

func breakWire(ctx context.Context, s *scene, begin func(*proxy.Proxy) error, ambiguous bool) error {
	return during(ctx, cut, func() error {
		if !ambiguous {
			return begin(s.wire)
		}
		err := s.strand(ctx, true, func() error { return begin(s.wire) }, s.workers...)
		for _, w := range s.workers {
			err = errors.Join(err, w.Thaw())
		}
		return err
	}, s.wire.Pass)
}

func beforeRedis(ctx context.Context, s *scene) error {
	through, err := s.insert(ctx, s.system.RedisURL())
	s.workerEnv = append(s.workerEnv, "REDIS_URL="+through)
	return err
}

func beforePostgres(ctx context.Context, s *scene) error {
	through, err := s.insert(ctx, s.system.DatabaseURL())
	s.workerEnv = append(s.workerEnv, "DATABASE_URL="+through)
	return err
}

func beforeReceiver(ctx context.Context, s *scene) error {
	_, err := s.insert(ctx, "http://"+s.receiver.Addr())
	if err == nil {
		s.receiverAddr = s.wire.Addr()
	}
	return err
}

// insert puts the scene's proxy before a server.
func (s *scene) insert(ctx context.Context, server string) (through string, err error) {
	s.wire, through, err = proxy.Before(ctx, server)
	if err != nil {
		return "", err
	}
	wire := s.wire
	s.atEnd(func(context.Context) error { return wire.Close() })
	return through, nil
}
