package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

// options is how much is measured.
type options struct {
	rows       []string
	rounds     int
	deliveries int
	mutations  int
	accepting  time.Duration
	parked     int
	parking    time.Duration
	owed       int           // to each of the starved row's webhooks
	bursting   int           // events of the burst row
	watching   time.Duration // how long the healthy webhook is watched
	json       string
	strict     bool
}

func parseOptions(args []string) (options, error) {
	o := options{accepting: 4 * time.Second, parked: 100_000, parking: 12 * time.Second}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "less of everything: under a minute, and less to rely on")
	rows := flags.String("rows", strings.Join(rowNames(), ","), "only these `rows`; there are also "+strings.Join(fairRowNames(), ","))
	flags.IntVar(&o.rounds, "rounds", 5, "rounds of each throughput row, in turn; medians are reported")
	flags.IntVar(&o.deliveries, "deliveries", 20_000, "deliveries of each throughput measurement")
	flags.IntVar(&o.mutations, "mutations", 400, "mutations of the latency row")
	flags.IntVar(&o.owed, "owed", 10_000, "deliveries owed to each webhook of the starved row")
	flags.IntVar(&o.bursting, "burst", 100_000, "events of the burst row")
	flags.DurationVar(&o.watching, "watch", 20*time.Second, "how long rows of fairness watch the healthy webhook")
	flags.StringVar(&o.json, "json", "", "also write the figures to this `file`")
	flags.BoolVar(&o.strict, "strict", false, "fail when a target is missed")
	if err := flags.Parse(args); err != nil {
		return options{}, err
	}
	if *quick {
		o.rounds, o.deliveries, o.mutations = 1, min(o.deliveries, 10_000), min(o.mutations, 150)
		o.accepting, o.parking = time.Second, 4*time.Second
	}
	if flags.NArg() > 0 {
		return options{}, fmt.Errorf("no arguments are expected, there is %q", flags.Arg(0))
	}
	if o.rounds < 1 || o.deliveries < hooks || o.mutations < 1 {
		return options{}, errors.New("--rounds, --deliveries or --mutations is too small")
	}
	if o.owed < 1 || o.bursting < 1 || o.watching < time.Second {
		return options{}, errors.New("--owed, --burst or --watch is too small")
	}
	o.rows = strings.Split(*rows, ",")
	all := append(rowNames(), fairRowNames()...)
	for _, name := range o.rows {
		if !slices.Contains(all, name) {
			return options{}, fmt.Errorf("--rows: there is no %q, but %s", name, strings.Join(all, ", "))
		}
	}
	return o, nil
}
