package webhook

import (
	"strconv"
	"time"
)

// Tolerance is how much failure the service takes before it disables a webhook:
// nothing has succeeded for as long as For, and not in as many as Deliveries.
// Both must be reached, so that neither one bad hour of a busy webhook nor three
// bad days of a quiet one are enough.
type Tolerance struct {
	For        time.Duration
	Deliveries int
}

// DefaultTolerance is what holds unless an operator says otherwise.
func DefaultTolerance() Tolerance { return Tolerance{For: 5 * 24 * time.Hour, Deliveries: 20} }

// Failing is a row of failed attempts of a webhook, with no success in between.
// A success ends it, and so does a resume or another URL. Test sends have no part
// in it.
type Failing struct {
	Since      time.Time // the first one
	Until      time.Time // the last one so far
	Deliveries int       // that had one
}

// Exceeds reports whether a webhook that fails so is to be disabled. Silence is no
// failure: what counts is the time between the first and the last attempt.
func (f Failing) Exceeds(t Tolerance) bool {
	return f.Deliveries >= t.Deliveries && f.Until.Sub(f.Since) >= t.For
}

// GoneReason is why a webhook that answered 410 is disabled, for people.
const GoneReason = "the receiver answered 410 Gone"

// Reason is why a webhook that failed so is disabled, for people.
func (f Failing) Reason() string {
	return "only failures since " + f.Since.UTC().Format(time.RFC3339) + ", in " + strconv.Itoa(f.Deliveries) + " deliveries"
}
