// Package protocol is what the HTTP edge and the executor of GraphQL requests
// agree upon: the codes of errors, what a request may contain, and how much of
// it an answer repeats.
package protocol

import (
	"math"
	"strings"
	"time"
)

// The values of extensions.code.
const (
	CodeUnauthenticated = "UNAUTHENTICATED"
	CodeForbidden       = "FORBIDDEN"
	CodeBadUserInput    = "BAD_USER_INPUT"
	CodeLimitExceeded   = "LIMIT_EXCEEDED"
	CodeUnavailable     = "UNAVAILABLE"
	CodeInternal        = "INTERNAL"
)

// The messages of what callers cannot mend; the cause is in the log.
const (
	UnavailableMessage = "temporarily unavailable, try again"
	InternalMessage    = "internal error"
)

const (
	// MaxDocumentBytes bounds a document before anybody validates it: validation
	// costs the square of what it is given.
	MaxDocumentBytes = 16 << 10
	// MaxSelections does the same. The edge counts them as they are written, the
	// executor with fragments in their places.
	MaxSelections = 2_000
	// MaxErrors bounds an answer: a document can be wrong in a thousand places.
	MaxErrors = 20

	maxMessageBytes = 500
)

// KeyRetryAfter is the member of extensions that says how many milliseconds to
// stay away: with it, LIMIT_EXCEEDED means not now, without it not ever.
const KeyRetryAfter = "retryAfterMs"

// RetrySeconds is what the header Retry-After says for a wait: whole seconds,
// rounded up.
func RetrySeconds(wait time.Duration) int { return int(math.Ceil(wait.Seconds())) }

// TooFast says that a tenant's allowance of things is used up for now.
func TooFast(things string) string { return things + " of this tenant must come at a lower rate" }

// TooMany says that as many things of a tenant go on as may, and others wait.
func TooMany(things string) string { return things + " of this tenant must be fewer at a time" }

// Busy is when to come back after TooMany: nobody knows how long others take.
const Busy = time.Second

// Dispatches reports whether a field of the mutation root accepts events. Those
// are rated by their events, so that neither a batch nor a single event is at an
// advantage; everything else is rated by requests.
func Dispatches(field string) bool { return field == "dispatchEvent" || field == "dispatchEvents" }

// Shortened bounds what a message repeats of the request.
func Shortened(message string) string {
	if len(message) <= maxMessageBytes {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessageBytes], "") + "..."
}
