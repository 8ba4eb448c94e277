package obs

import (
	"log/slog"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// The keys of log attributes. They are an interface: people search for them.
const (
	KeyAddress    = "addr"
	KeyAttempt    = "attempt"
	KeyBlocked    = "blocked_address"
	KeyComponent  = "component"
	KeyCount      = "count"
	KeyDelivery   = "delivery"
	KeyDuration   = "duration_ms"
	KeyErr        = "error"
	KeyErrorClass = "error_class"
	KeyEvent      = "event"
	KeyEventType  = "event_type"
	KeyMethod     = "method"
	KeyNext       = "next_attempt_at"
	KeyOperation  = "operation"
	KeyPath       = "path"
	KeyQueue      = "queue"
	KeyRequestID  = "request_id"
	KeyService    = "service"
	KeyStatus     = "status"
	KeyTask       = "task"
	KeyTenant     = "tenant"
	KeyTraceID    = "trace_id"
	KeyVersion    = "version"
	KeyWebhook    = "webhook"
)

// Delivery names a delivery.
func Delivery(id webhook.DeliveryID) slog.Attr { return slog.String(KeyDelivery, id.String()) }

// Event names an event.
func Event(id webhook.EventID) slog.Attr { return slog.String(KeyEvent, id.String()) }

// Webhook names a webhook.
func Webhook(id webhook.WebhookID) slog.Attr { return slog.String(KeyWebhook, id.String()) }

// Tenant names a tenant.
func Tenant(id webhook.TenantID) slog.Attr { return slog.String(KeyTenant, string(id)) }

// EventType names an event type by its wire name.
func EventType(name string) slog.Attr { return slog.String(KeyEventType, name) }

// Attempt numbers an attempt, from 1.
func Attempt(number int) slog.Attr { return slog.Int(KeyAttempt, number) }

// Status is an HTTP status.
func Status(code int) slog.Attr { return slog.Int(KeyStatus, code) }

// Component names a part of a process.
func Component(name string) slog.Attr { return slog.String(KeyComponent, name) }

// Queue names a task queue.
func Queue(name string) slog.Attr { return slog.String(KeyQueue, name) }

// Count says how many.
func Count(n int) slog.Attr { return slog.Int(KeyCount, n) }

// Duration is in milliseconds, with the microseconds as decimals.
func Duration(d time.Duration) slog.Attr {
	return slog.Float64(KeyDuration, float64(d.Microseconds())/1000)
}

// Next is the time of a delivery's next attempt.
func Next(at time.Time) slog.Attr { return slog.Time(KeyNext, at) }

// Err is what went wrong; a nil error logs as the empty text. Causes that the
// error does not tell its caller are told here.
func Err(err error) slog.Attr {
	if err == nil {
		return slog.String(KeyErr, "")
	}
	return slog.String(KeyErr, withCauses(err, err.Error()))
}

// withCauses adds to text what it does not say of the errors that err wraps.
func withCauses(err error, text string) string {
	var wrapped []error
	switch err := err.(type) { //nolint:errorlint // one step at a time
	case interface{ Unwrap() error }:
		wrapped = []error{err.Unwrap()}
	case interface{ Unwrap() []error }:
		wrapped = err.Unwrap()
	}
	for _, cause := range wrapped {
		if cause == nil {
			continue
		}
		if said := cause.Error(); !strings.Contains(text, said) {
			text += ": " + said
		}
		text = withCauses(cause, text)
	}
	return text
}
