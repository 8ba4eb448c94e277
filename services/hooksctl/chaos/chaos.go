package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

func chaos(ctx context.Context, args []string, out io.Writer) (err error) {
	o, err := parseOptions(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	theatre, err := stage.Open(ctx, stage.Config{Name: "chaos", Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, theatre.Close(ctx)) }()
	receiver, err := stage.StartReceiver()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, receiver.Close()) }()
	var results []result
	for _, f := range o.faults {
		log.InfoContext(ctx, "fault", "name", f.name, "seed", o.seed)
		r, err := row(ctx, theatre, receiver, o, f)
		if err != nil {
			return errors.Join(fmt.Errorf("%s, logs in %s: %w", f.name, theatre.Dir(), err), publish(out, o, results))
		}
		results = append(results, r)
	}
	return errors.Join(publish(out, o, results), verdict(results))
}

// row plays one fault on a fresh system.
func row(ctx context.Context, theatre *stage.Stage, receiver *stage.Receiver, o options, f fault) (r result, err error) {
	system, err := theatre.NewSystem(ctx, strings.ReplaceAll(f.name, "-", "_")+"_row")
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, system.Close(ctx)) }()
	s := &scene{
		options: o, system: system, servers: theatre.Servers, receiver: receiver, random: randomFor(o.seed, f.name),
		hooks: map[webhook.TenantID][]webhook.WebhookID{}, clients: map[webhook.TenantID][]*apiclient.Client{},
	}
	defer s.close()
	if err := s.setUp(ctx); err != nil {
		return result{}, err
	}
	return s.play(ctx, f)
}

// verdict is an error when a row broke a promise.
func verdict(results []result) error {
	var errs []error
	for _, r := range results {
		if r.Lost > 0 {
			errs = append(errs, fmt.Errorf("%s: %d deliveries lost", r.Fault, r.Lost))
		}
		if r.Duplicated > r.MostDuplicated {
			errs = append(errs, fmt.Errorf("%s: %d requests made twice, the fault excuses %d", r.Fault, r.Duplicated, r.MostDuplicated))
		}
	}
	return errors.Join(errs...)
}

func publish(out io.Writer, o options, results []result) error {
	if len(results) == 0 {
		return nil
	}
	if err := printTable(out, o, results); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(map[string]any{"seed": o.seed, "rows": results}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding table: %w", err)
	}
	if err := os.WriteFile(o.json, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing table: %w", err)
	}
	return nil
}

func printTable(out io.Writer, o options, results []result) error {
	_, err := fmt.Fprintf(out, "\n%d apis, %d workers, %d tenants with %d webhooks each, %d events/s for %s; --seed %d.\n"+
		"accepted and refused are mutations, the rest deliveries; recovery: from the fault until the last one that took more\n"+
		"than %s was recorded, or the last mutation refused.\n\n",
		apis, workers, tenants, hooksPerTenant, o.rate, o.load, o.seed, lateAfter)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "fault\taccepted\trefused\towed\tdelivered\tlost\tduplicated\trecovery\tof it the fault itself\t")
	for _, r := range results {
		mark := ""
		if !r.ok() {
			mark = "BROKEN"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t%.1f s\t%.1f s\t%s\n",
			r.Title, r.Accepted, r.refusals(), r.Owed, r.Delivered, r.Lost, r.Duplicated, r.Recovery, r.Lasted, mark)
	}
	return w.Flush()
}

// refusals says what was answered instead of success.
func (r result) refusals() string {
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(r.Refused)) {
		parts = append(parts, fmt.Sprintf("%d %s", r.Refused[kind], kind))
	}
	if r.Unanswered > 0 {
		parts = append(parts, fmt.Sprintf("%d of them committed", r.Unanswered))
	}
	if len(parts) == 0 {
		return "0"
	}
	return strings.Join(parts, ", ")
}
