package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// play is a run of the suite.
type play struct {
	options
	log      *slog.Logger
	stage    *stage.Stage
	receiver *stage.Receiver
}

func chaos(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	p := &play{options: o, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	tasks.RouteClientLog(slog.New(slog.DiscardHandler)) // of course it misses servers
	p.stage, err = stage.Open(ctx, stage.Config{
		Name: "chaos", Log: p.log, PostgresSettings: map[string]string{"max_connections": postgresConnections},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stage.Close(ctx)) }()
	if p.receiver, err = stage.StartReceiver(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.receiver.Close()) }()
	if o.json == "" {
		o.json = filepath.Join(p.stage.Dir(), tableFile)
	}
	if o.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, o.within, fmt.Errorf("the rows took longer than %s", o.within))
		defer cancel()
	}
	results, err := p.all(ctx)
	err = errors.Join(err, publish(out, o, results), verdict(results))
	if err == nil && o.selfCheck {
		err = p.checkSelf(ctx, out)
	}
	return err
}

// all plays the rows. One that cannot be played to its end is broken, and the
// others are played all the same.
func (p *play) all(ctx context.Context) ([]result, error) {
	var results []result
	for _, f := range p.faults {
		r, err := p.row(ctx, f)
		if ctx.Err() != nil {
			return results, errors.Join(context.Cause(ctx), err)
		}
		if err != nil {
			r = result{Fault: f.name, Title: f.title}
			r.breaks("%v (logs in %s)", err, p.stage.Dir())
		}
		p.log.InfoContext(ctx, "row", slog.String("fault", f.name), slog.Int("lost", r.Lost), slog.Int("duplicated", r.Duplicated),
			slog.Float64("recovery", r.Recovery), slog.Any("broken", r.Broken))
		results = append(results, r)
	}
	return results, nil
}

// row plays one fault on a fresh system.
func (p *play) row(ctx context.Context, f fault) (r result, err error) {
	p.log.InfoContext(ctx, "fault", slog.String("name", f.name), slog.Uint64("seed", p.seed))
	if err := p.revive(ctx); err != nil {
		return result{}, err
	}
	s, err := newScene(ctx, p, f)
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	if err != nil {
		return result{}, fmt.Errorf("setting up: %w", err)
	}
	return s.play(ctx, f)
}

// revive starts what an earlier row that went wrong left dead.
func (p *play) revive(ctx context.Context) error {
	var errs []error
	if p.stage.Servers.Postgres.PID() == 0 {
		errs = append(errs, p.stage.Servers.Postgres.Start(ctx))
	}
	if p.stage.Servers.Redis.PID() == 0 {
		errs = append(errs, p.stage.Servers.Redis.Start(ctx))
	}
	return errors.Join(errs...)
}

// selfCheckPatience is short: what is lost without the relay stays lost.
const selfCheckPatience = 10 * time.Second

// checkSelf plays the FLUSHALL row once more, with nobody to repair anything: a suite
// that finds no loss there would find none anywhere.
func (p *play) checkSelf(ctx context.Context, out io.Writer) error {
	crippled := *p
	crippled.withoutRelay, crippled.patience = true, selfCheckPatience
	f, err := chosen("redis-flush")
	if err != nil {
		return err
	}
	r, err := crippled.row(ctx, f[0])
	if err != nil {
		return fmt.Errorf("self-check: %w", err)
	}
	if r.Lost == 0 {
		return errors.New("self-check: nothing is lost by FLUSHALL without the relay: this suite would not notice losses")
	}
	_, err = fmt.Fprintf(out, "\nSelf-check: with the relay switched off, FLUSHALL loses %d of %d deliveries, and this suite notices.\n", r.Lost, r.Owed)
	return err
}
