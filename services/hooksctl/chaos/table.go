package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// verdict is an error when a row broke a promise.
func verdict(results []result) error {
	var errs []error
	for _, r := range results {
		for _, promise := range r.Broken {
			errs = append(errs, fmt.Errorf("%s: %s", r.Fault, promise))
		}
	}
	return errors.Join(errs...)
}

// publish prints the table, writes it, and says where.
func publish(out io.Writer, o options, results []result) error {
	if len(results) == 0 {
		return nil
	}
	if err := printTable(out, o, results); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	text, err := json.MarshalIndent(map[string]any{"seed": o.seed, "rows": results}, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding table: %w", err)
	}
	if err := os.WriteFile(o.json, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing table: %w", err)
	}
	_, err = fmt.Fprintf(out, "\nThis table is in %s, too.\n", o.json)
	return err
}

func printTable(out io.Writer, o options, results []result) error {
	_, err := fmt.Fprintf(out, "\n%d apis, %d workers, %d tenants with %d webhooks each, %d events/s for %s around the fault; --seed %d.\n"+
		"accepted: events; refused: mutations, asked for again later; the rest: deliveries. duplicated, of those that were in flight when\n"+
		"a process died, froze or was cut off. recovery: from the fault until the last mutation or delivery that took more than %s, or was refused.\n\n",
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
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%s\t%.1f s\t%.1f s\t%s\n",
			r.Title, r.Accepted, r.refusals(), r.Owed, r.Delivered, r.Lost, r.duplicates(), r.Recovery, min(r.Lasted, r.Recovery), mark)
	}
	return w.Flush()
}

func (r result) duplicates() string {
	if r.Excused == 0 {
		return fmt.Sprint(r.Duplicated)
	}
	return fmt.Sprintf("%d of %d", r.Duplicated, r.Excused)
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
