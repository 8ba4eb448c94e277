package main

import (
	"strings"
	"testing"
	"time"
)

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"--rows", "redis-flush, none"})
	if err != nil || len(o.faults) != 2 || o.faults[0].name != "redis-flush" || o.seed == 0 {
		t.Errorf("got %+v, error %v", o, err)
	}
	for args, want := range map[string]int{
		"":                                len(faults()),
		"--self-check":                    0,
		"--quick --self-check":            3,
		"--quick --rows worker-kill":      1,
		"--rows worker-kill --self-check": 1,
	} {
		o, err := parseOptions(strings.Fields(args))
		if err != nil || len(o.faults) != want {
			t.Errorf("%q: %d rows, error %v, want %d", args, len(o.faults), err, want)
		}
	}
	for args, want := range map[string]time.Duration{"": 0, "--quick": quickWithin, "--quick --within 5m": 5 * time.Minute} {
		if o, err := parseOptions(strings.Fields(args)); err != nil || o.within != want {
			t.Errorf("%q: within %s, error %v, want %s", args, o.within, err, want)
		}
	}
	for _, args := range [][]string{{"--rows", "flood"}, {"stray"}, {"--rate", "0"}, {"--load", "1ms"}, {"--random", "0s"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
