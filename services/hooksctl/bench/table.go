package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// What this stage of the project aims at.
const (
	wantRatio     = 1.5
	wantP50       = 10.0 // ms
	wantP99       = 30.0 // ms
	wantProcess   = 150 << 20
	wantRedis     = 32 << 20
	mebibyte      = 1 << 20
	verdictMet    = "met"
	verdictMissed = "MISSED"
)

// line is one of the table.
type line struct {
	name, figure, cost, ratio string
	// target is empty where nothing is aimed at.
	target string
	met    bool
}

func (l line) verdict() string {
	switch {
	case l.target == "":
		return ""
	case l.met:
		return verdictMet
	default:
		return verdictMissed
	}
}

func (r report) print(out io.Writer) error {
	_, err := fmt.Fprintf(out, "\n1 KB payload, loopback, %d processors, %s, PostgreSQL %s with fsync, Redis %s with AOF every second; %.0f s.\n"+
		"Throughput: medians of %d rounds; a ratio is the median of each round's, with its range.\n\n",
		r.Machine.CPUs, r.Machine.Go, r.Machine.Postgres, r.Machine.Redis, r.Seconds, len(r.Rounds))
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "what\tfigure\tCPU s per 1,000\tto the baseline\ttarget\t")
	for _, l := range r.lines() {
		fmt.Fprintln(w, strings.Join([]string{l.name, l.figure, l.cost, l.ratio, l.target, l.verdict()}, "\t"))
	}
	return w.Flush()
}

func (r report) missed() error {
	var names []string
	for _, l := range r.lines() {
		if l.verdict() == verdictMissed {
			names = append(names, l.name)
		}
	}
	if len(names) > 0 {
		return errors.New("targets missed: " + strings.Join(names, "; "))
	}
	return nil
}

// lines are of the rows that were measured.
func (r report) lines() []line {
	var all []line
	if len(r.Rounds) > 0 {
		all = append(all, r.throughputLines()...)
	}
	if r.Latency != nil {
		all = append(all, r.Latency.lines()...)
	}
	if r.Accept != nil {
		all = append(all, r.Accept.lines()...)
	}
	if r.Memory != nil {
		all = append(all, r.Memory.lines()...)
	}
	if r.Starved != nil {
		all = append(all, r.Starved.lines()...)
	}
	if r.Burst != nil {
		all = append(all, r.Burst.lines()...)
	}
	if r.Shares != nil {
		all = append(all, r.Shares.lines()...)
	}
	return all
}

func (r report) throughputLines() []line {
	row := func(name string, pick func(round) rate) line {
		return line{
			name:   name,
			figure: fmt.Sprintf("%.0f deliveries/s", r.median(func(x round) float64 { return pick(x).PerSecond })),
			cost: splitCost(rate{
				CPU:         r.median(func(x round) float64 { return pick(x).CPU }),
				ProcessCPU:  r.median(func(x round) float64 { return pick(x).ProcessCPU }),
				PostgresCPU: r.median(func(x round) float64 { return pick(x).PostgresCPU }),
				RedisCPU:    r.median(func(x round) float64 { return pick(x).RedisCPU }),
			}),
			ratio: r.ratio(func(x round) float64 { return pick(x).PerSecond / x.Asynq.PerSecond }),
		}
	}
	raw := row("raw limit: 64 goroutines sign and POST", func(x round) rate { return x.Raw })
	baseline := row("baseline: bare asynq signs and POSTs, the better of 64 and 256", func(x round) rate { return x.Asynq })
	baseline.ratio = "1"
	arrived := row("one worker, until the last arrival", func(x round) rate { return x.Arrived })
	recorded := row("one worker, until all is recorded", func(x round) rate { return x.Recorded })
	recorded.target = fmt.Sprintf(">= %.1f x", wantRatio)
	recorded.met = r.median(func(x round) float64 { return x.Recorded.PerSecond / x.Asynq.PerSecond }) >= wantRatio
	price := line{
		name:  "  its processor time",
		ratio: r.ratio(func(x round) float64 { return x.Recorded.CPU / x.Asynq.CPU }),
	}
	return []line{raw, baseline, arrived, recorded, price}
}

func (r report) ratio(pick func(round) float64) string {
	all := r.each(pick)
	return fmt.Sprintf("%.2f x (%.2f-%.2f)", r.median(pick), all[0], all[len(all)-1])
}

func splitCost(c rate) string {
	text := fmt.Sprintf("%.3f", c.CPU)
	if c.PostgresCPU > 0 {
		text += fmt.Sprintf(" (%.3f + PostgreSQL %.3f + Redis %.3f)", c.ProcessCPU, c.PostgresCPU, c.RedisCPU)
	}
	return text
}

func (f latencyFigures) lines() []line {
	ms := func(name string, value, want float64) line {
		l := line{name: name, figure: fmt.Sprintf("%.1f ms", value)}
		if want > 0 {
			l.target, l.met = fmt.Sprintf("< %.0f ms", want), value < want
		}
		return l
	}
	return []line{
		ms("idle: from the mutation's answer to the arrival, p50", f.Delivery.P50, wantP50),
		ms("  p99", f.Delivery.P99, wantP99),
		ms("  max", f.Delivery.Max, 0),
		ms("idle: the mutation itself, p50", f.Mutation.P50, 0),
		ms("  p99", f.Mutation.P99, 0),
	}
}

func (f acceptFigures) lines() []line {
	accepting := func(name string, a acceptRate) line {
		return line{
			name:   name,
			figure: fmt.Sprintf("%.0f events/s, a call p50 %.1f ms, p99 %.1f ms", a.PerSecond, a.Call.P50, a.Call.P99),
			cost:   splitCost(a.rate),
		}
	}
	return []line{
		accepting("one api accepts: dispatchEvent from 64 clients", f.Single),
		accepting("  dispatchEvents of 100 from 64 clients", f.Batch),
	}
}

func (m memoryFigures) lines() []line {
	mib := func(name string, now, most, want int64) line {
		l := line{name: name, target: fmt.Sprintf("< %d MiB", want/mebibyte), met: most < want}
		l.figure = fmt.Sprintf("%.0f MiB", float64(now)/mebibyte)
		if most > now {
			l.figure += fmt.Sprintf(", at most %.0f", float64(most)/mebibyte)
		}
		return l
	}
	return []line{
		mib(fmt.Sprintf("memory with %d parked: api", m.Parked), m.API.Resident, m.API.Peak, wantProcess),
		mib("  worker", m.Worker.Resident, m.Worker.Peak, wantProcess),
		mib("  Redis", m.Redis, m.Redis, wantRedis),
	}
}
