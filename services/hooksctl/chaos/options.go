package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// options is which faults, and under what load.
type options struct {
	faults     []fault
	load       time.Duration
	rate       int // events a second
	randomTime time.Duration
	seed       uint64
	json       string
	selfCheck  bool
	// patience is how long the system has for what it owes after the load.
	patience time.Duration
	// withoutRelay is for the suite's check of itself.
	withoutRelay bool
	// within bounds all rows together, building not included; 0 is no bound.
	within time.Duration
}

const (
	usualPatience = 60 * time.Second
	quickRows     = "worker-kill,redis-flush,postgres-kill"
	quickLoad     = 5 * time.Second
	quickWithin   = 2 * time.Minute
	tableFile     = "table.json"
)

func parseOptions(args []string) (options, error) {
	o := options{patience: usualPatience}
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	rows := flags.String("rows", "", "only these `faults`, comma-separated, of "+strings.Join(faultNames(), ", "))
	quick := flags.Bool("quick", false, "only "+quickRows+", with less load around them")
	flags.BoolVar(&o.selfCheck, "self-check", false, "check that this suite can fail: with the relay switched off, redis-flush must lose events; alone, no other row is played")
	flags.DurationVar(&o.load, "load", 10*time.Second, "how long events are dispatched around the fault")
	flags.IntVar(&o.rate, "rate", 50, "events a second; each owes three deliveries")
	flags.DurationVar(&o.randomTime, "random", time.Minute, "how long the row random kills processes")
	flags.Uint64Var(&o.seed, "seed", 0, "what decides tenants, times and victims; 0 draws one and says which")
	flags.StringVar(&o.json, "json", "", "write the table to this `file`, not to "+tableFile+" among the logs")
	flags.DurationVar(&o.within, "within", 0, "fail when the rows take longer than this; 0 is no bound, or "+quickWithin.String()+" with --quick")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("no arguments are expected, there is %q", flags.Arg(0))
	}
	if o.load < time.Second || o.rate < 1 || o.rate > 1000 || o.randomTime < time.Second {
		return options{}, fmt.Errorf("--load and --random must be at least 1s and --rate from 1 to 1000")
	}
	if o.seed == 0 {
		o.seed = uint64(rand.Uint32()) //nolint:gosec // no secret
	}
	if *quick {
		o.load = min(o.load, quickLoad)
		if o.within == 0 {
			o.within = quickWithin
		}
		if *rows == "" {
			*rows = quickRows
		}
	}
	if o.selfCheck && *rows == "" {
		return o, nil
	}
	var err error
	o.faults, err = chosen(*rows)
	return o, err
}

// chosen finds rows by their names; no names are all.
func chosen(rows string) ([]fault, error) {
	if rows == "" {
		return faults(), nil
	}
	var out []fault
	for name := range strings.SplitSeq(rows, ",") {
		i := slices.IndexFunc(faults(), func(f fault) bool { return f.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("--rows: there is no %q, but %s", name, strings.Join(faultNames(), ", "))
		}
		out = append(out, faults()[i])
	}
	return out, nil
}

func faultNames() []string {
	var names []string
	for _, f := range faults() {
		names = append(names, f.name)
	}
	return names
}
