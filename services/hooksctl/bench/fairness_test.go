package main

import (
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// fair is a report in which nobody is starved.
func fair() report {
	quick := quantiles{P50: 4, P99: 20, Max: 30}
	well := healthyFigures{Events: 400, Delivery: quick, Mutation: quick}
	return report{
		Starved: &starvedFigures{Alone: well, Beside: well, Hanging: 10, Slow: 10},
		Burst:   &burstFigures{Beside: well},
		Shares:  &sharesFigures{Window: 10, One: share{PerSecond: 9}, Beside: well, AWebhook: 10, AllOfMany: 384},
	}
}

func TestReport_starvingIsMissed(t *testing.T) {
	t.Parallel()
	if err := fair().missed(); err != nil {
		t.Error(err)
	}
	late := quantiles{P50: 9, P99: 200, Max: 300}
	for name, tc := range map[string]struct {
		change func(*report)
		missed int // targets
	}{
		"late deliveries beside others":    {func(r *report) { r.Starved.Beside.Delivery = late }, 2},
		"late mutations beside others":     {func(r *report) { r.Starved.Beside.Mutation = late }, 2},
		"twice as late as alone":           {func(r *report) { r.Starved.Beside.Delivery.P99 = 40 }, 1},
		"mutations twice as late as alone": {func(r *report) { r.Starved.Beside.Mutation.P99 = 40 }, 1},
		"missing beside others":            {func(r *report) { r.Starved.Beside.Missing = 1 }, 4},
		"refused beside others":            {func(r *report) { r.Starved.Beside.Refused = 1 }, 4},
		"missing alone":                    {func(r *report) { r.Starved.Alone.Missing = 1 }, 2},
		"nothing measured":                 {func(r *report) { r.Starved.Beside = healthyFigures{} }, 4},
		"a window exceeded":                {func(r *report) { r.Starved.Hanging = 11 }, 1},
		"another window exceeded":          {func(r *report) { r.Starved.Slow = 11 }, 1},
		"nothing hangs":                    {func(r *report) { r.Starved.Hanging = 0 }, 1},
		"late deliveries beside a burst":   {func(r *report) { r.Burst.Beside.Delivery = late }, 1},
		"late mutations beside a burst":    {func(r *report) { r.Burst.Beside.Mutation = late }, 1},
		"missing beside a burst":           {func(r *report) { r.Burst.Beside.Missing = 1 }, 2},
		"a window not used up":             {func(r *report) { r.Shares.One.PerSecond = 7.9 }, 1},
		"a tenant beyond its cap":          {func(r *report) { r.Shares.AllOfMany = 385 }, 1},
		"a webhook beyond its window":      {func(r *report) { r.Shares.AWebhook = 11 }, 1},
		"a third tenant that waits":        {func(r *report) { r.Shares.Beside.Delivery = late }, 1},
		"a third tenant's mutations wait":  {func(r *report) { r.Shares.Beside.Mutation = late }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := fair()
			tc.change(&r)
			missed := 0
			for _, l := range r.lines() {
				if l.verdict() == verdictMissed {
					missed++
				}
			}
			if missed != tc.missed || r.missed() == nil {
				t.Errorf("%d targets missed, want %d; error %v", missed, tc.missed, r.missed())
			}
		})
	}
}

func TestMostAtOnce(t *testing.T) {
	t.Parallel()
	request := func(name string, from, to time.Duration) stage.Arrival {
		return stage.Arrival{Name: name, Nanos: int64(from), Ended: int64(to)}
	}
	const s = time.Second
	for name, tc := range map[string]struct {
		arrivals []stage.Arrival
		want     int
	}{
		"none":                           {nil, 0},
		"of others":                      {[]stage.Arrival{request("b", 0, 5*s)}, 0},
		"one after the other":            {[]stage.Arrival{request("a", 5*s, 9*s), request("a", 0, 5*s)}, 1},
		"two at once":                    {[]stage.Arrival{request("a", 0, 5*s), request("a", 4*s, 9*s), request("a", 6*s, 9*s)}, 2},
		"an end that is noticed late":    {[]stage.Arrival{request("a", 0, 5*s), request("a", 5*s-endsLate/2, 9*s)}, 1},
		"one that has not lasted at all": {[]stage.Arrival{request("a", 0, endsLate/2)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := mostAtOnce(tc.arrivals, named("a")); got != tc.want {
				t.Errorf("%d at once, want %d", got, tc.want)
			}
		})
	}
}
