package webhook

import (
	"errors"
	"strings"
)

// Kind says who can mend an error and how; each edge maps it once.
type Kind int

// The kinds. Anything that is not an *Error is an internal fault.
const (
	KindInvalid       Kind = iota + 1 // the caller sent something that breaks a rule
	KindNotFound                      // no such thing in this tenant
	KindConflict                      // the thing exists, in a state that forbids this
	KindLimitExceeded                 // a quota or a size limit
	KindUnavailable                   // a server we need is away; try again
)

// Error is an error that a caller can act on.
type Error struct {
	Kind Kind
	// Field is the path of the input at fault, e.g. "input", "headers", "0", "name".
	Field []string
	// Rule says what must hold, to follow the field's name in a sentence:
	// "must have 1 to 64 characters".
	Rule string
	// Cause is for logs only.
	Cause error
}

// To compare by kind: errors.Is(err, webhook.ErrNotFound).
var (
	ErrInvalid       = &Error{Kind: KindInvalid}
	ErrNotFound      = &Error{Kind: KindNotFound}
	ErrConflict      = &Error{Kind: KindConflict}
	ErrLimitExceeded = &Error{Kind: KindLimitExceeded}
	ErrUnavailable   = &Error{Kind: KindUnavailable}
)

// Invalid makes a KindInvalid error about one field; dots separate its path.
func Invalid(field, rule string) *Error {
	return &Error{Kind: KindInvalid, Field: path(field), Rule: rule}
}

// NotFound makes a KindNotFound error: what is "webhook" or "delivery".
func NotFound(what string) *Error {
	return &Error{Kind: KindNotFound, Field: []string{"id"}, Rule: "names no " + what + " of this tenant"}
}

// Conflict makes a KindConflict error about one field.
func Conflict(field, rule string) *Error {
	return &Error{Kind: KindConflict, Field: path(field), Rule: rule}
}

// LimitExceeded makes a KindLimitExceeded error about one field.
func LimitExceeded(field, rule string) *Error {
	return &Error{Kind: KindLimitExceeded, Field: path(field), Rule: rule}
}

// Unavailable wraps the fault of a server that should come back.
func Unavailable(cause error) *Error {
	return &Error{Kind: KindUnavailable, Rule: "temporarily unavailable, try again", Cause: cause}
}

// Error returns "field rule", a sentence fit for the caller's eyes.
func (e *Error) Error() string {
	if len(e.Field) == 0 {
		return e.Rule
	}
	return strings.Join(e.Field, ".") + " " + e.Rule
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is compares by kind, so that sentinels match whatever the field.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Kind == e.Kind && t.Rule == "" && t.Field == nil
}

// Under returns a copy of e whose field path starts with prefix.
func (e *Error) Under(prefix ...string) *Error {
	c := *e
	c.Field = append(append([]string{}, prefix...), e.Field...)
	return &c
}

// Errors is several faults of one input, so that a caller sees all at once.
type Errors []*Error

func (es Errors) Error() string {
	texts := make([]string, len(es))
	for i, e := range es {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap lets errors.Is and errors.As look at each fault.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// orNil returns nil when there are no faults: an empty Errors in an error
// interface would not be nil.
func (es Errors) orNil() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

// add appends a fault, if it is one.
func (es *Errors) add(fault *Error) {
	if fault != nil {
		*es = append(*es, fault)
	}
}

// addAll appends the faults that err holds.
func (es *Errors) addAll(err error) { *es = append(*es, Faults(err)...) }

// Faults returns the caller's faults in err, nil when err is something else.
func Faults(err error) []*Error {
	var many Errors
	if errors.As(err, &many) {
		return many
	}
	var one *Error
	if errors.As(err, &one) {
		return []*Error{one}
	}
	return nil
}

// about returns the first fault of err as one about field; nil when there is none.
func about(field string, err error) *Error {
	for _, fault := range Faults(err) {
		c := *fault
		c.Field = path(field)
		return &c
	}
	return nil
}

func path(field string) []string {
	if field == "" {
		return nil
	}
	return strings.Split(field, ".")
}
