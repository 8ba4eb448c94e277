package graph

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

// apiError is a top-level error with its code.
type apiError struct {
	code      string
	message   string
	requestID string // of INTERNAL errors
	wait      time.Duration
}

func (e *apiError) Error() string { return e.message }

// Extensions is what the answer's error carries beside its message.
func (e *apiError) Extensions() map[string]any {
	out := map[string]any{"code": e.code}
	if e.requestID != "" {
		out["requestId"] = e.requestID
	}
	if e.wait > 0 {
		out[protocol.KeyRetryAfter] = e.wait.Milliseconds()
	}
	return out
}

// errorMapper turns errors into what callers see and logs what they must not see.
type errorMapper struct{ log *slog.Logger }

// fail returns err as a top-level error. It is the one place that decides which
// text leaves the service, and the one that logs the rest, once.
func (m errorMapper) fail(ctx context.Context, err error) error {
	var mapped *apiError
	if errors.As(err, &mapped) {
		return mapped // the library looks at the outermost error only
	}
	if faults := webhook.Faults(err); len(faults) > 0 {
		return m.failFault(ctx, faults[0])
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return m.unavailable(ctx, err)
	}
	m.log.ErrorContext(ctx, "answering a request", obs.Err(err))
	return internal(ctx)
}

// entry is fail for an error that is not returned by a resolver. What the library
// made of one that was has its words already.
func (m errorMapper) entry(ctx context.Context, err error) *gqlerrors.QueryError {
	var made *gqlerrors.QueryError
	if errors.As(err, &made) {
		return &gqlerrors.QueryError{Err: made.Err, Message: made.Message, Extensions: made.Extensions}
	}
	return queryError(m.fail(ctx, err))
}

// check is fail for an error that may be nil.
func (m errorMapper) check(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return m.fail(ctx, err)
}

func (m errorMapper) failFault(ctx context.Context, fault *webhook.Error) error {
	switch fault.Kind {
	case webhook.KindUnavailable:
		return m.unavailable(ctx, fault.Cause)
	case webhook.KindLimitExceeded:
		return &apiError{code: protocol.CodeLimitExceeded, message: fault.Error()}
	default:
		return &apiError{code: protocol.CodeBadUserInput, message: fault.Error()}
	}
}

func (m errorMapper) unavailable(ctx context.Context, cause error) error {
	if !errors.Is(ctx.Err(), context.Canceled) { // the caller who hung up is no trouble of ours
		m.log.WarnContext(ctx, "a request could not be answered now", obs.Err(cause))
	}
	return &apiError{code: protocol.CodeUnavailable, message: protocol.UnavailableMessage}
}

func internal(ctx context.Context) *apiError {
	return &apiError{code: protocol.CodeInternal, message: protocol.InternalMessage, requestID: obs.RequestID(ctx)}
}

// userError is the type UserError.
type userError struct {
	budget *budget
	fault  *webhook.Error

	Code string
}

// Message answers what must hold.
func (e userError) Message() string { return e.budget.text(e.fault.Error()) }

// Field answers the path of the input at fault, null when it is none in particular.
func (e userError) Field() *[]string {
	if len(e.fault.Field) == 0 {
		return nil
	}
	path := e.budget.texts(e.fault.Field)
	return &path
}

// mend returns err as userErrors when the caller can mend all of it, and as a
// top-level error otherwise. A fault of the input is put below prefix; one about
// the thing that the operation names already has its whole path.
func (m errorMapper) mend(ctx context.Context, err error, prefix ...string) ([]userError, error) {
	faults := webhook.Faults(err)
	out := make([]userError, 0, len(faults))
	for _, fault := range faults {
		code := errorCode(fault.Kind)
		if code == "" {
			return nil, m.fail(ctx, fault)
		}
		if len(fault.Field) > 0 && !slices.Equal(fault.Field, []string{"id"}) {
			fault = fault.Under(prefix...)
		}
		out = append(out, userError{budget: budgetOf(ctx), fault: fault, Code: code})
	}
	if len(out) == 0 {
		return nil, m.fail(ctx, err)
	}
	return out, nil
}

// errorCode is the enum ErrorCode; empty for what no caller can mend.
func errorCode(kind webhook.Kind) string {
	switch kind {
	case webhook.KindInvalid:
		return "INVALID"
	case webhook.KindNotFound:
		return "NOT_FOUND"
	case webhook.KindConflict:
		return "CONFLICT"
	case webhook.KindLimitExceeded:
		return "LIMIT_EXCEEDED"
	default:
		return ""
	}
}

// finish gives every error of an answer a code and bounds them. What the library
// found itself has none yet.
func (m errorMapper) finish(ctx context.Context, resp *graphql.Response) {
	if len(resp.Errors) > protocol.MaxErrors {
		resp.Errors = resp.Errors[:protocol.MaxErrors]
	}
	for _, e := range resp.Errors {
		if _, coded := e.Extensions["code"]; coded {
			continue
		}
		mapped := m.classify(ctx, e)
		e.Message, e.Extensions = mapped.message, mapped.Extensions()
	}
}

func (m errorMapper) classify(ctx context.Context, e *gqlerrors.QueryError) *apiError {
	var mapped *apiError
	switch {
	case ctx.Err() != nil, errors.Is(e.Err, context.Canceled), errors.Is(e.Err, context.DeadlineExceeded):
		return &apiError{code: protocol.CodeUnavailable, message: protocol.UnavailableMessage}
	case e.Rule == "MaxDepthExceeded", e.Rule == "OverlapValidationLimitExceeded", errors.Is(e.Err, graphql.ErrTooManySelections):
		return &apiError{code: protocol.CodeLimitExceeded, message: protocol.Shortened(e.Message)}
	case e.Rule != "", e.Path == nil: // found before a resolver ran
		return &apiError{code: protocol.CodeBadUserInput, message: protocol.Shortened(e.Message)}
	case errors.As(m.fail(ctx, e), &mapped): // null where the schema promises a value
		return mapped
	default:
		return internal(ctx)
	}
}
