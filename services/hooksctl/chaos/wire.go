package main

import (
	"context"
	"errors"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/chaos/proxy"
)

// beforeRedis gives each worker a wire of its own to Redis.
func beforeRedis(ctx context.Context, s *scene) error {
	return s.wireWorkers(ctx, "REDIS_URL=", s.system.RedisURL())
}

// beforePostgres gives each worker a wire of its own to PostgreSQL.
func beforePostgres(ctx context.Context, s *scene) error {
	return s.wireWorkers(ctx, "DATABASE_URL=", s.system.DatabaseURL())
}

func (s *scene) wireWorkers(ctx context.Context, variable, server string) error {
	for i := range s.workerEnv {
		through, err := s.insert(ctx, server)
		if err != nil {
			return err
		}
		s.workerEnv[i] = append(s.workerEnv[i], variable+through)
	}
	return nil
}

// beforeReceiver puts one wire between all workers and the receivers: a webhook
// has one address.
func beforeReceiver(ctx context.Context, s *scene) error {
	_, err := s.insert(ctx, "http://"+s.receiver.Addr())
	if err == nil {
		s.receiverAddr = s.wires[0].Addr()
	}
	return err
}

// afterAPIs puts one wire between the apis and PostgreSQL.
func afterAPIs(ctx context.Context, s *scene) error {
	through, err := s.insert(ctx, s.system.DatabaseURL())
	s.apiEnv = append(s.apiEnv, "DATABASE_URL="+through)
	return err
}

// throughProxy puts one wire between Redis and everybody.
func throughProxy(ctx context.Context, s *scene) error {
	through, err := s.insert(ctx, s.system.RedisURL())
	for i := range s.workerEnv {
		s.workerEnv[i] = append(s.workerEnv[i], "REDIS_URL="+through)
	}
	s.apiEnv = append(s.apiEnv, "REDIS_URL="+through)
	return err
}

// insert puts a proxy before a server.
func (s *scene) insert(ctx context.Context, server string) (through string, err error) {
	wire, through, err := proxy.Before(ctx, server)
	if err != nil {
		return "", err
	}
	s.wires = append(s.wires, wire)
	s.atEnd(func(context.Context) error { return wire.Close() })
	return through, nil
}

// breakWires does something to all of them.
func (s *scene) breakWires(do func(*proxy.Proxy) error) error {
	var errs []error
	for _, wire := range s.wires {
		errs = append(errs, do(wire))
	}
	return errors.Join(errs...)
}

// mendWires lets everything through again.
func (s *scene) mendWires(ctx context.Context) error {
	return s.breakWires(func(p *proxy.Proxy) error { return p.Pass(ctx) })
}
