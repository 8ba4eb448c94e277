package webhook

import (
	"slices"
	"time"
)

// What a webhook gets when its creator says nothing, and the bounds of what a
// creator may say.
const (
	DefaultMaxAttempts    = 3
	DefaultTimeout        = 5 * time.Second
	DefaultInitialBackoff = 5 * time.Second

	MinMaxAttempts    = 1
	MaxMaxAttempts    = 20
	MinTimeout        = 500 * time.Millisecond
	MaxTimeout        = 30 * time.Second
	MinInitialBackoff = 10 * time.Millisecond
	MaxInitialBackoff = 12 * time.Hour

	// MaxWebhooksPerTenant bounds the fan-out of one event.
	MaxWebhooksPerTenant = 100

	// CurrentAPIVersion is the envelope version of new webhooks.
	CurrentAPIVersion = "2026-11-01"
)

// Status says whether a webhook's deliveries go out.
type Status string

// The statuses; doc.go draws the machine.
const (
	Active   Status = "active"
	Paused   Status = "paused"   // by a person
	Disabled Status = "disabled" // by the service
)

// CanBecome reports whether a webhook in status s may change to status to. A
// person pauses and resumes whatever the status; a 410 or lasting failure
// disables, also while requests of a paused webhook come home.
func (s Status) CanBecome(to Status) bool {
	return s != to && s.known() && to.known()
}

func (s Status) known() bool { return s == Active || s == Paused || s == Disabled }

// Webhook is a customer's endpoint, what it subscribes to, and how it is treated.
type Webhook struct {
	ID          WebhookID
	Tenant      TenantID
	Name        string
	Description string // empty: none
	URL         string // in the normal form of URLRules.Parse
	Events      []EventType
	Patterns    []Pattern
	Headers     []Header
	Status      Status
	// StatusReason says why the webhook is paused or disabled; empty when active.
	StatusReason string
	Policy       Policy
	APIVersion   string
	CreatedBy    string
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Subscriptions returns all patterns that w subscribes to, each once, although a
// type may be among the events and the patterns.
func (w Webhook) Subscriptions() []Pattern {
	out := make([]Pattern, 0, len(w.Events)+len(w.Patterns))
	for _, t := range w.Events {
		out = append(out, PatternOf(t))
	}
	for _, p := range w.Patterns {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// Policy bounds one delivery to one webhook.
type Policy struct {
	MaxAttempts    int           // requests, the first included; 1 to 20
	Timeout        time.Duration // of one whole exchange; 500 ms to 30 s
	InitialBackoff time.Duration // before the second attempt
}

// DefaultPolicy is what a webhook gets when its creator says nothing.
func DefaultPolicy() Policy {
	return Policy{MaxAttempts: DefaultMaxAttempts, Timeout: DefaultTimeout, InitialBackoff: DefaultInitialBackoff}
}

// Validate names each value that is out of its range.
func (p Policy) Validate() error {
	var faults Errors
	if p.MaxAttempts < MinMaxAttempts || p.MaxAttempts > MaxMaxAttempts {
		faults = append(faults, Invalid("maxAttempts", "must be between 1 and 20"))
	}
	if p.Timeout < MinTimeout || p.Timeout > MaxTimeout {
		faults = append(faults, Invalid("timeoutMs", "must be between 500 and 30000"))
	}
	if p.InitialBackoff < MinInitialBackoff || p.InitialBackoff > MaxInitialBackoff {
		faults = append(faults, Invalid("initialBackoffMs", "must be between 10 and 43200000 (12 hours)"))
	}
	return faults.orNil()
}
