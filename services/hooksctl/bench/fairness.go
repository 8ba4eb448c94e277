package main

import "fmt"

// What nobody may notice of others.
const (
	wantBeside = 50.0  // ms
	wantTimes  = 2.0   // its own p99 without the others
	wantBurst  = 100.0 // ms
	// wantShare is of what a webhook's window allows.
	wantShare = 0.8
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
}

// share is deliveries per second of a tenant, and of its webhooks with the least
// and the most.
type share struct {
	PerSecond float64 `json:"perSecond"`
	Least     float64 `json:"least"`
	Most      float64 `json:"most"`
}

// line is what matters of h: its deliveries' p99.
func (h healthyFigures) line(name string, want float64) line {
	l := line{name: name, figure: fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, max %.1f ms", h.Delivery.P50, h.Delivery.P99, h.Delivery.Max)}
	if h.Missing > 0 {
		l.figure += fmt.Sprintf(", %d missing", h.Missing)
	}
	if h.Refused > 0 {
		l.figure += fmt.Sprintf(", %d refused", h.Refused)
	}
	if want > 0 {
		l.target, l.met = fmt.Sprintf("p99 < %.0f ms", want), h.Delivery.P99 < want && h.Refused == 0
	}
	return l
}

// mutations is a line without a target.
func (h healthyFigures) mutations() line {
	return line{name: "  its mutations", figure: fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, max %.1f ms", h.Mutation.P50, h.Mutation.P99, h.Mutation.Max)}
}

func (f starvedFigures) lines() []line {
	times := f.Beside.Delivery.P99 / f.Alone.Delivery.P99
	return []line{
		f.Alone.line("healthy webhook, 20 events/s, alone", 0),
		f.Alone.mutations(),
		f.Beside.line(fmt.Sprintf("  beside %d owed to each that hangs, fails, takes 3 s", f.Owed), wantBeside),
		{
			name: "  its p99 to that alone", ratio: fmt.Sprintf("%.2f x", times),
			target: fmt.Sprintf("< %.0f x", wantTimes), met: times < wantTimes,
		},
		f.Beside.mutations(),
	}
}

func (f burstFigures) lines() []line {
	return []line{
		f.Beside.line(fmt.Sprintf("healthy webhook, 20 events/s, beside a burst of %d", f.Events), wantBurst),
		f.Beside.mutations(),
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
		f.Beside.line("  a third tenant's healthy webhook, 20 events/s", wantBurst),
	}
}
