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
	faults []fault
	load   time.Duration
	rate   int // events a second
	seed   uint64
	json   string
	// withoutRelay is the suite's own test.
	withoutRelay bool
}

func parseOptions(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	rows := flags.String("rows", "", "only these `faults`, comma-separated, of "+strings.Join(faultNames(), ", "))
	flags.DurationVar(&o.load, "load", 10*time.Second, "how long events are dispatched; the fault strikes in the middle")
	flags.IntVar(&o.rate, "rate", 60, "events a second; each owes three deliveries")
	flags.Uint64Var(&o.seed, "seed", 0, "what decides tenants, times and victims; 0 draws one and says which")
	flags.StringVar(&o.json, "json", "", "also write the table to this `file`")
	flags.BoolVar(&o.withoutRelay, "without-relay", false, "keep the relay from working: redis-flush must then report losses, or this suite is worth nothing")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("no arguments are expected, there is %q", flags.Arg(0))
	}
	if o.load < time.Second || o.rate < 1 || o.rate > 1000 {
		return options{}, fmt.Errorf("--load must be at least 1s and --rate from 1 to 1000")
	}
	if o.seed == 0 {
		o.seed = uint64(rand.Uint32()) //nolint:gosec // no secret
	}
	var err error
	o.faults, err = chosen(*rows)
	return o, err
}

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
