package main

import "fmt"

// What nobody may notice of others.
const (
	wantBeside = 50.0  // ms
	wantTimes  = 2.0   // its own p99 without the others
	wantBurst  = 100.0 // ms
	// wantShare is of what a webhook's window allows.
	wantShare = 0.8
	// wantCap is what a tenant alone may have in flight: three quarters of
	// HOOKS_WORKER_CONCURRENCY's default, in each worker.
	wantCap = fairWorkers * 256 * 3 / 4
)

// healthyFigures are of one webhook at 20 events a second.
type healthyFigures struct {
	Events int `json:"events"`
	// Refused were answered UNAVAILABLE.
	Refused int `json:"refused,omitempty"`
	// Missing had not come in the end; they count with the time until then.
	Missing int `json:"missing,omitempty"`
	// Delivery is from the mutation's answer to the arrival at the receiver.
	Delivery quantiles `json:"delivery"`
	Mutation quantiles `json:"mutation"`
}

type starvedFigures struct {
	Owed   int            `json:"owed"`
	Alone  healthyFigures `json:"alone"`
	Beside healthyFigures `json:"beside"`
	// Hanging and Slow are requests to these webhooks that were in flight at once.
	Hanging int `json:"hanging"`
	Slow    int `json:"slow"`
}

type burstFigures struct {
	Events int `json:"events"`
	// Accepted and Delivered are per second, from the first call on.
	Accepted  float64        `json:"accepted"`
	Delivered float64        `json:"delivered"`
	Beside    healthyFigures `json:"beside"`
}

type sharesFigures struct {
	Webhooks int `json:"webhooks"` // of the tenant with many
	// Window is what a webhook could get per second.
	Window float64        `json:"window"`
	One    share          `json:"one"`
	Many   share          `json:"many"`
	Beside healthyFigures `json:"beside"`
	// AWebhook and AllOfMany are requests that were in flight at once: to any webhook,
	// and to those of the tenant with many.
	AWebhook  int `json:"aWebhook"`
	AllOfMany int `json:"allOfMany"`
}

// share is deliveries per second of a tenant, and of its webhooks with the least
// and the most.
type share struct {
	PerSecond float64 `json:"perSecond"`
	Least     float64 `json:"least"`
	Most      float64 `json:"most"`
}

// whole tells whether everything was accepted and came: latencies of the rest alone
// would say little.
func (h healthyFigures) whole() bool { return h.Events > 0 && h.Refused == 0 && h.Missing == 0 }

// line is what matters of h: its deliveries' p99.
func (h healthyFigures) line(name string, want float64) line {
	l := h.latency(name, h.Delivery, want)
	if h.Missing > 0 {
		l.figure += fmt.Sprintf(", %d missing", h.Missing)
	}
	if h.Refused > 0 {
		l.figure += fmt.Sprintf(", %d refused", h.Refused)
	}
	return l
}

// mutations is what others must not delay either: a delivery counts from the answer.
func (h healthyFigures) mutations(want float64) line {
	return h.latency("  its mutations", h.Mutation, want)
}

func (h healthyFigures) latency(name string, q quantiles, want float64) line {
	l := line{name: name, figure: fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, max %.1f ms", q.P50, q.P99, q.Max)}
	if want > 0 {
		l.target, l.met = fmt.Sprintf("p99 < %.0f ms", want), q.P99 < want && h.whole()
	}
	return l
}

// times compares a p99 with that alone.
func (f starvedFigures) times(name string, pick func(healthyFigures) quantiles) line {
	times := pick(f.Beside).P99 / pick(f.Alone).P99
	return line{
		name: name, ratio: fmt.Sprintf("%.2f x", times),
		target: fmt.Sprintf("< %.0f x", wantTimes), met: times < wantTimes && f.Alone.whole() && f.Beside.whole(),
	}
}

// atOnce is a line about requests in flight, of which there must have been some.
func atOnce(name string, most, want int) line {
	return line{
		name: name, figure: fmt.Sprintf("%d in flight at most", most),
		target: fmt.Sprintf("<= %d", want), met: 0 < most && most <= want,
	}
}

func (f starvedFigures) lines() []line {
	return []line{
		f.Alone.line("healthy webhook, 20 events/s, alone", 0),
		f.Alone.mutations(0),
		f.Beside.line(fmt.Sprintf("  beside %d owed to each that hangs, fails, takes 3 s", f.Owed), wantBeside),
		f.times("  its p99 to that alone", func(h healthyFigures) quantiles { return h.Delivery }),
		f.Beside.mutations(wantBeside),
		f.times("  their p99 to that alone", func(h healthyFigures) quantiles { return h.Mutation }),
		atOnce(fmt.Sprintf("  the one that hangs, over %d workers", fairWorkers), f.Hanging, defaultWindow),
		atOnce("  the one that takes 3 s", f.Slow, defaultWindow),
	}
}

func (f burstFigures) lines() []line {
	return []line{
		f.Beside.line(fmt.Sprintf("healthy webhook, 20 events/s, beside a burst of %d", f.Events), wantBurst),
		f.Beside.mutations(wantBurst),
		{name: "  the burst", figure: fmt.Sprintf("%.0f events/s accepted, %.0f delivered", f.Accepted, f.Delivered)},
	}
}

func (f sharesFigures) lines() []line {
	return []line{
		{
			name:   fmt.Sprintf("tenant with 1 webhook beside one with %d", f.Webhooks),
			figure: fmt.Sprintf("%.1f deliveries/s", f.One.PerSecond), ratio: fmt.Sprintf("%.2f of its window", f.One.PerSecond/f.Window),
			target: fmt.Sprintf(">= %.1f", wantShare), met: f.One.PerSecond >= wantShare*f.Window,
		},
		{
			name:   "  the other tenant",
			figure: fmt.Sprintf("%.1f deliveries/s, a webhook %.1f to %.1f", f.Many.PerSecond, f.Many.Least, f.Many.Most),
		},
		atOnce("  all its webhooks", f.AllOfMany, wantCap),
		atOnce("  any webhook of both", f.AWebhook, defaultWindow),
		f.Beside.line("  a third tenant's healthy webhook, 20 events/s", wantBurst),
		f.Beside.mutations(wantBurst),
	}
}
