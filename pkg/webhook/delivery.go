package webhook

import "time"

// DeliveryStatus is what a client sees of a delivery; doc.go draws the machine.
type DeliveryStatus string

// The statuses. Succeeded and Failed are final, but for an explicit retry of a
// failed one (I4).
const (
	Pending   DeliveryStatus = "pending"  // no attempt of this budget has failed yet
	Retrying  DeliveryStatus = "retrying" // an attempt failed, another is owed
	Succeeded DeliveryStatus = "success"
	Failed    DeliveryStatus = "failed"
)

// Finished reports whether the delivery owes nothing more.
func (s DeliveryStatus) Finished() bool { return s == Succeeded || s == Failed }

// CanBecome reports whether a delivery in status s may change to status to. A
// failed delivery goes back to Pending by an explicit retry and by nothing else (I4).
func (s DeliveryStatus) CanBecome(to DeliveryStatus) bool {
	switch s {
	case Pending, Retrying:
		return to == Retrying || to.Finished()
	case Failed:
		return to == Pending
	default:
		return false
	}
}

// FailureReason says why a delivery failed for good.
type FailureReason string

// The reasons.
const (
	AttemptsExhausted FailureReason = "attempts_exhausted"
	ReceiverGone      FailureReason = "receiver_gone"
	WebhookDeleted    FailureReason = "webhook_deleted"
	BlockedAddress    FailureReason = "blocked_address"
	Canceled          FailureReason = "canceled"
)

// DeliveryKind tells event deliveries from test sends.
type DeliveryKind string

// The kinds. A test send has one attempt, needs no slot in its webhook's
// window, and goes out even when the webhook is paused.
const (
	KindEvent DeliveryKind = "event"
	KindTest  DeliveryKind = "test"
)

// Delivery is what one event owes one webhook.
type Delivery struct {
	ID            DeliveryID
	Tenant        TenantID
	WebhookID     WebhookID
	EventID       EventID
	EventType     EventType
	Kind          DeliveryKind
	Status        DeliveryStatus
	FailureReason FailureReason // empty unless Failed
	AttemptCount  int
	// MaxAttempts is the attempt number that ends the current budget.
	MaxAttempts    int
	NextAttemptAt  time.Time // zero when finished
	ResponseStatus int       // of the last attempt; 0: none
	LastError      string    // of the last attempt; empty: none
	CreatedAt      time.Time
	CompletedAt    time.Time // zero until finished
}

// ErrorClass is the stable name of what went wrong in an attempt.
type ErrorClass string

// The classes. NoError means that a 2xx arrived whole.
const (
	NoError      ErrorClass = ""
	ClassTimeout ErrorClass = "TIMEOUT"         // the exchange outlived the webhook's timeout
	ClassConnect ErrorClass = "CONNECT"         // refused, reset, or closed before an answer
	ClassDNS     ErrorClass = "DNS"             // the host name did not resolve
	ClassTLS     ErrorClass = "TLS"             // handshake or certificate
	ClassBlocked ErrorClass = "BLOCKED_ADDRESS" // the address is not public (I6)
	ClassStatus  ErrorClass = "STATUS"          // an answer, but not 2xx
	ClassBody    ErrorClass = "BODY"            // the answer was malformed or cut short
)

// Field is one header line as stored and shown: values of credential-like names
// are masked before they get here.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Attempt is one request made for a delivery and what came back.
type Attempt struct {
	Number          int // 1..n without gaps (I4)
	StartedAt       time.Time
	Duration        time.Duration
	ResponseStatus  int // 0: no answer
	ErrorClass      ErrorClass
	Error           string // readable, without URL, body, secret or address
	RequestHeaders  []Field
	ResponseHeaders []Field
	ResponseBody    string // first 16 KiB, valid UTF-8 without NUL
	// RetryAfter is what the receiver asked for; 0: nothing.
	RetryAfter time.Duration
	// BlockedAddress is where the host name led that ClassBlocked is about. It is
	// for the worker's log: it is not stored, and not for tenants' eyes.
	BlockedAddress string
}

// OK reports whether the receiver accepted the event.
func (a Attempt) OK() bool { return a.ErrorClass == NoError }
