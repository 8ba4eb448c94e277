package webhook

import (
	"encoding/json"
	"strings"
	"time"
)

const (
	maxEventTypeLength = 128
	// wildcard subscribes to every event type.
	wildcard = "*"
)

// TestEventType is the type of a test send. It is never fanned out: a test goes
// to the one webhook it was asked for.
//
//nolint:gochecknoglobals // a constant of a type that has none
var TestEventType = EventType{"webhook.test"}

// EventType is the wire name of what happened, e.g. lead.created.
// Only ParseEventType makes one.
type EventType struct{ name string }

// ParseEventType accepts lower-case words of [a-z0-9_], dot-separated, at most
// 128 characters.
func ParseEventType(s string) (EventType, error) {
	if len(s) > maxEventTypeLength {
		return EventType{}, Invalid("eventType", "must have at most 128 characters")
	}
	for word := range strings.SplitSeq(s, ".") {
		if !isWord(word) {
			return EventType{}, Invalid("eventType", "must be lower-case words of a-z, 0-9 and _, separated by dots, such as invoice.paid")
		}
	}
	return EventType{s}, nil
}

// ParseCustomEventType accepts an event type that a customer may dispatch: not a
// built-in one, and not one that the platform speaks about itself with.
func ParseCustomEventType(s string) (EventType, error) {
	t, err := ParseEventType(s)
	if err != nil {
		return EventType{}, about("customEvent", err)
	}
	if prefix, reserved := t.reservedPrefix(); reserved {
		return EventType{}, Invalid("customEvent", "must not start with "+prefix+", which is reserved")
	}
	if entry, builtIn := LookupType(t); builtIn {
		return EventType{}, Invalid("customEvent", "must not be a built-in type; dispatch it as event "+entry.Enum)
	}
	return t, nil
}

func isWord(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}

func (t EventType) String() string { return t.name }

// ObjectType returns the first word: the kind of record that the event is about.
func (t EventType) ObjectType() string {
	first, _, _ := strings.Cut(t.name, ".")
	return first
}

// Candidates returns every pattern that matches t: t itself, one wildcard for
// each of its prefixes, and `*` unless the type is the platform's own.
// Subscriptions are found by looking these up, never by matching patterns one by
// one.
func (t EventType) Candidates() []Pattern {
	out := []Pattern{{t.name}}
	if _, reserved := t.reservedPrefix(); !reserved {
		out = append(out, Pattern{wildcard})
	}
	for i, c := range []byte(t.name) {
		if c == '.' {
			out = append(out, Pattern{t.name[:i+1] + wildcard})
		}
	}
	return out
}

// Pattern is what a webhook subscribes to: an event type, `prefix.*` for all
// types below a prefix at any depth, or `*` for all but the platform's own: who
// wants everything of the CRM did not ask for news of operation. Only
// ParsePattern makes one.
type Pattern struct{ text string }

// ParsePattern accepts an event type, an event type followed by `.*`, or `*`.
func ParsePattern(s string) (Pattern, error) {
	if s == wildcard {
		return Pattern{s}, nil
	}
	if _, err := ParseEventType(strings.TrimSuffix(s, "."+wildcard)); err != nil || len(s) > maxEventTypeLength {
		return Pattern{}, Invalid("eventPatterns", "must be an event type such as invoice.paid, a prefix such as lead.*, or *")
	}
	return Pattern{s}, nil
}

// PatternOf subscribes to exactly one type.
func PatternOf(t EventType) Pattern { return Pattern{t.name} }

func (p Pattern) String() string { return p.text }

// Matches reports whether an event of type t goes to a subscriber of p.
func (p Pattern) Matches(t EventType) bool {
	prefix, wild := strings.CutSuffix(p.text, wildcard)
	if !wild {
		return p.text == t.name
	}
	if _, reserved := t.reservedPrefix(); reserved && prefix == "" {
		return false
	}
	return strings.HasPrefix(t.name, prefix)
}

// NewEvent is a valid event that is not stored yet.
type NewEvent struct {
	Tenant         TenantID
	Type           EventType
	ObjectType     string // lead, opportunity, ...; for custom events the type's first word
	ObjectID       string
	Object         json.RawMessage // a JSON value
	Previous       json.RawMessage // a JSON object, or nil
	OccurredAt     time.Time       // zero: when accepted
	IdempotencyKey string          // empty: none
	CorrelationID  string          // empty: none
	TraceParent    string          // W3C traceparent of the request that brought it
}

// Event is an accepted event.
type Event struct {
	ID     EventID
	Tenant TenantID
	Type   EventType
	// Body is what receivers get: these bytes are stored, signed and sent on
	// every attempt (I8).
	Body        string
	TraceParent string
	CreatedAt   time.Time
}
