package webhook

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"
)

// Submission is one request to accept events: all of them or none.
type Submission struct{ Events []SubmittedEvent }

// SubmittedEvent is an event with its final bytes, ready to be stored.
type SubmittedEvent struct {
	Event Event
	// IdempotencyKey is unique per tenant for 24 h; empty: none.
	IdempotencyKey string
	// Fingerprint tells a repeated request from another one under the same key.
	Fingerprint [sha256.Size]byte
}

// Receipt answers a Submission.
type Receipt struct {
	Events []AcceptedEvent
	// Err is set when the submission was refused; nothing of it is stored.
	Err error
}

// AcceptedEvent is the answer for one event, in the order of submission.
type AcceptedEvent struct {
	ID EventID
	// Deliveries is how many the event owes.
	Deliveries int
	// Duplicate is set when the idempotency key had been seen: ID is the first one's.
	Duplicate bool
}

// Owed is a delivery that someone must be rung for.
type Owed struct {
	Delivery  DeliveryID
	Webhook   WebhookID
	Tenant    TenantID
	EventType string
	Kind      DeliveryKind
	Attempt   int // the attempt that is due
}

// Claim is a leased delivery with all that sending it takes (I3).
type Claim struct {
	Owed
	Event       EventID
	LastAttempt int // the attempt that ends the budget
	Holder      string
	ClaimedAt   time.Time     // by the claimer's clock
	Lease       time.Duration // from ClaimedAt; after it another worker may send
	Body        string
	TraceParent string
	URL         string
	Headers     []Header
	Secrets     []SigningSecret
	Policy      Policy
	// Fault says why the claim cannot be sent, e.g. a secret sealed with a key
	// that this process lacks. It is to be released: an operator's mistake must
	// not cost a customer an attempt.
	Fault error
}

// Outcome is how a claimed attempt ended and what follows from it.
type Outcome struct {
	Claim   Claim
	Attempt Attempt
	Next    Next
}

// Room is how many deliveries a worker has room for.
type Room struct {
	// Lease is how many of each tenant may be leased at once, and Holder to whom: a
	// name that is new with each statement.
	Lease  map[TenantID]int
	Holder string
	// Ring is for how many more somebody may be rung: whoever has no slots does not
	// call for what then could only wait. A webhook that would have none at work or
	// rung for gets one bell all the same, so that whoever answers it goes on.
	Ring int
}

// NoLimit rings for as many as windows allow.
const NoLimit = math.MaxInt32

// Admission is what became of free slots.
type Admission struct {
	// Claimed deliveries are leased to the caller, to be sent now.
	Claimed []Claim
	// Rung deliveries are admitted; someone must be rung for them.
	Rung []Owed
	// Again lists webhooks that gained deliveries which this statement could
	// not see yet: ask Admit for them.
	Again []WebhookID
	// Lost lists outcomes that are not recorded: the lease had ended and the
	// delivery went to another holder, or was finished. One that an earlier call
	// recorded, whose answer never came, is not lost.
	Lost []DeliveryID
}

// Doubt is about leases that nobody may know of: those that were asked for under
// these names, by statements whose answers were lost. They can only be on the
// named deliveries or on deliveries of the named webhooks.
type Doubt struct {
	Holders    []string
	Webhooks   []WebhookID
	Deliveries []DeliveryID
}

// Fingerprint digests what the caller said, field by field and length-prefixed,
// so that a repeated request is recognised and another one is not.
func (e NewEvent) Fingerprint() [sha256.Size]byte {
	h := sha256.New()
	for _, field := range [][]byte{
		[]byte(e.Type.name), []byte(e.ObjectID), e.Object, e.Previous,
		[]byte(e.OccurredAt.UTC().Format(time.RFC3339Nano)), []byte(e.CorrelationID),
	} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(field)))
		h.Write(length[:])
		h.Write(field)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
