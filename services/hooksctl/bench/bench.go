package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// suite is one run.
type suite struct {
	options
	log      *slog.Logger
	stage    *stage.Stage
	receiver *stage.Receiver
	report   report
}

func bench(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	s := &suite{options: o, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if s.stage, err = stage.Open(ctx, stage.Config{Name: "bench", Log: s.log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stage.Close(ctx)) }()
	if s.receiver, err = stage.StartReceiver(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.receiver.Close()) }()
	started := time.Now()
	s.report.Machine = machine{
		CPUs: runtime.NumCPU(), Go: runtime.Version(),
		Postgres: s.stage.Servers.Postgres.Version(), Redis: s.stage.Servers.Redis.Version(),
	}
	if err := s.measure(ctx); err != nil {
		return err
	}
	s.report.Seconds = time.Since(started).Seconds()
	return s.publish(out)
}

// rowNames are the rows that run unless others are asked for; fairRowNames take
// minutes, and run when they are.
func rowNames() []string { return []string{"throughput", "latency", "accept", "memory"} }

func fairRowNames() []string { return []string{"starved", "burst", "shares"} }

func (s *suite) measure(ctx context.Context) error {
	names := append(rowNames(), fairRowNames()...)
	for i, row := range []func(context.Context) error{
		s.throughput, s.latency, s.accept, s.memory, s.starved, s.burst, s.shares,
	} {
		if !slices.Contains(s.rows, names[i]) {
			continue
		}
		if err := row(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *suite) publish(out io.Writer) error {
	if err := s.report.print(out); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if s.json != "" {
		if err := s.report.write(s.json); err != nil {
			return err
		}
	}
	if s.strict {
		return s.report.missed()
	}
	return nil
}

// withSystem runs f on a fresh system.
func (s *suite) withSystem(ctx context.Context, name string, f func(*stage.System) error) error {
	y, err := s.stage.NewSystem(ctx, name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err = f(y); err != nil {
		err = fmt.Errorf("%s, logs in %s: %w", name, s.stage.Dir(), err)
	}
	return errors.Join(err, y.Close(ctx))
}

// started starts a new service.
func started(ctx context.Context, add func() (*stage.Service, error)) (*stage.Service, error) {
	service, err := add()
	if err != nil {
		return nil, err
	}
	return service, service.Start(ctx)
}
