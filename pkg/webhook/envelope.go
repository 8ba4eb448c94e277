package webhook

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// MaxEventBytes bounds an event's object and previous together.
	MaxEventBytes = 256 << 10

	// wireTime is RFC 3339 in UTC with milliseconds.
	wireTime = "2006-01-02T15:04:05.000Z07:00"

	minOccurredYear, maxOccurredYear = 1970, 9999
)

// EventDraft is what a caller says has happened, before any rule was checked.
type EventDraft struct {
	Event          *EventType // from the catalogue; exactly one of Event and CustomEvent
	CustomEvent    *string
	ObjectID       string
	Object         json.RawMessage
	Previous       json.RawMessage // nil or null: none
	OccurredAt     *time.Time
	IdempotencyKey *string
	CorrelationID  *string
	TraceParent    string
}

// Parse checks every rule and names all faults at once (Errors), by the field
// names of the public API.
func (d EventDraft) Parse(tenant TenantID) (NewEvent, error) {
	var faults Errors
	e := NewEvent{Tenant: tenant, ObjectID: d.ObjectID, Object: d.Object, Previous: d.Previous, TraceParent: d.TraceParent}
	if string(bytes.TrimSpace(d.Previous)) == "null" {
		e.Previous = nil
	}
	eventType, err := d.eventType()
	faults.addAll(err)
	e.Type, e.ObjectType = eventType, eventType.ObjectType()
	if d.OccurredAt != nil {
		e.OccurredAt = *d.OccurredAt
		faults.add(checkOccurredAt(*d.OccurredAt))
	}
	if d.IdempotencyKey != nil {
		e.IdempotencyKey = *d.IdempotencyKey
		faults.add(checkReference("idempotencyKey", *d.IdempotencyKey))
	}
	if d.CorrelationID != nil {
		e.CorrelationID = *d.CorrelationID
		faults.add(checkReference("correlationId", *d.CorrelationID))
	}
	faults = append(faults, e.checkObject()...)
	if len(faults) > 0 {
		return NewEvent{}, faults
	}
	return e, nil
}

func (d EventDraft) eventType() (EventType, error) {
	switch {
	case d.Event != nil && d.CustomEvent == nil:
		entry, known := LookupType(*d.Event)
		switch {
		case !known:
			return EventType{}, Invalid("event", "must be a built-in event type")
		case entry.ByPlatform():
			return EventType{}, Invalid("event", "must not be "+entry.Enum+", which only the service itself sends")
		}
		return *d.Event, nil
	case d.CustomEvent != nil && d.Event == nil:
		return ParseCustomEventType(*d.CustomEvent)
	default:
		return EventType{}, Invalid("event", "must be given, or customEvent, and not both")
	}
}

// Validate checks the rules of an event that did not come from an EventDraft.
func (e NewEvent) Validate() error {
	var faults Errors
	if e.Type == (EventType{}) {
		faults.add(Invalid("event", "must be given, or customEvent"))
	}
	if !e.OccurredAt.IsZero() {
		faults.add(checkOccurredAt(e.OccurredAt))
	}
	if e.IdempotencyKey != "" {
		faults.add(checkReference("idempotencyKey", e.IdempotencyKey))
	}
	if e.CorrelationID != "" {
		faults.add(checkReference("correlationId", e.CorrelationID))
	}
	return append(faults, e.checkObject()...).orNil()
}

func (e NewEvent) checkObject() Errors {
	var faults Errors
	faults.add(checkReference("objectId", e.ObjectID))
	if len(e.Object)+len(e.Previous) > MaxEventBytes {
		faults.add(LimitExceeded("object", "must have at most 262144 bytes together with previous"))
		return faults // what is too large is not read either
	}
	faults.add(checkJSONObject("object", e.Object))
	if e.Previous != nil {
		faults.add(checkJSONObject("previous", e.Previous))
	}
	return faults
}

func checkJSONObject(field string, raw json.RawMessage) *Error {
	switch {
	case !utf8.Valid(raw):
		return Invalid(field, "must be valid UTF-8")
	case !opensObject(raw), !json.Valid(raw):
		return Invalid(field, "must be a JSON object")
	}
	return nil
}

func opensObject(raw []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{"))
}

func checkOccurredAt(t time.Time) *Error {
	if year := t.UTC().Year(); year < minOccurredYear || year > maxOccurredYear {
		return Invalid("occurredAt", "must be between the years 1970 and 9999")
	}
	return nil
}

// Body returns what receivers get for e, compact, in a fixed field order. The
// caller's object and previous keep their bytes but for white space between
// tokens: number spellings, key order and escapes stay.
//
// Equal arguments give equal bytes. An error means that e is not valid.
func (e NewEvent) Body(id EventID, acceptedAt time.Time) (string, error) {
	object, err := compacted("object", e.Object)
	if err != nil {
		return "", err
	}
	previous, changed, err := e.changes()
	if err != nil {
		return "", err
	}
	timestamp := e.OccurredAt
	if timestamp.IsZero() {
		timestamp = acceptedAt
	}
	b := make([]byte, 0, len(object)+len(previous)+512)
	b = append(b, `{"id":"`...)
	b = append(b, id.String()...)
	b = append(b, `","type":"`...)
	b = append(b, e.Type.name...)
	b = append(b, `","apiVersion":"`+CurrentAPIVersion+`","timestamp":"`...)
	b = timestamp.UTC().AppendFormat(b, wireTime)
	b = append(b, `","tenantId":`...)
	b = appendJSONString(b, string(e.Tenant))
	b = append(b, `,"correlationId":`...)
	if e.CorrelationID == "" {
		b = append(b, "null"...)
	} else {
		b = appendJSONString(b, e.CorrelationID)
	}
	b = append(b, `,"data":{"objectType":`...)
	b = appendJSONString(b, e.ObjectType)
	b = append(b, `,"objectId":`...)
	b = appendJSONString(b, e.ObjectID)
	b = append(b, `,"object":`...)
	b = append(b, object...)
	b = append(b, `,"previous":`...)
	b = append(b, previous...)
	b = append(b, `,"changedFields":[`...)
	for i, field := range changed {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, field)
	}
	b = append(b, `]}}`...)
	return string(b), nil
}

// changes returns previous, {} when absent, and its keys in order.
func (e NewEvent) changes() ([]byte, []string, error) {
	if e.Previous == nil {
		return []byte("{}"), nil, nil
	}
	previous, err := compacted("previous", e.Previous)
	if err != nil {
		return nil, nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(previous, &fields); err != nil {
		return nil, nil, Invalid("previous", "must be a JSON object")
	}
	return previous, slices.Sorted(maps.Keys(fields)), nil
}

func compacted(field string, raw json.RawMessage) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(raw))
	if err := json.Compact(&b, raw); err != nil || !opensObject(raw) || !utf8.Valid(raw) {
		return nil, Invalid(field, "must be a JSON object")
	}
	return b.Bytes(), nil
}

// appendJSONString escapes what JSON must escape and leaves <, > and & alone.
func appendJSONString(b []byte, s string) []byte {
	plain := !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' })
	if plain {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return append(b, `""`...) // encoding a string into memory cannot fail
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}
