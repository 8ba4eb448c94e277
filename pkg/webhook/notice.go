package webhook

import (
	"strconv"
	"strings"
	"time"
)

// The platform's own event types: what the service says to a tenant about its
// webhooks. Nobody else can dispatch them.
//
//   - webhook.disabled: the service disabled a webhook, after a 410 or beyond its
//     Tolerance.
//   - webhook.failing: nothing has succeeded since a first failure, and a delivery
//     has used up its budget meanwhile, or FailingInEarnest has passed with
//     attempts. Once until the next success or resume.
//   - webhook.recovered: the first success after webhook.failing.
//   - delivery.exhausted: a delivery has used up its budget; there is no such event
//     about a delivery of a platform event.
//
// They go to webhooks of the tenant that subscribe to them by name, by webhook.*
// or by delivery.*, but not by *, and never to the webhook that they are about.
//
//nolint:gochecknoglobals // constants of a type that has none
var (
	WebhookDisabled   = EventType{"webhook.disabled"}
	WebhookFailing    = EventType{"webhook.failing"}
	WebhookRecovered  = EventType{"webhook.recovered"}
	DeliveryExhausted = EventType{"delivery.exhausted"}
)

// FailingInEarnest is how long a webhook may fail without losing a delivery
// before its tenant is told.
const FailingInEarnest = time.Hour

// reservedPrefixes begin the types that the platform speaks about itself with.
func reservedPrefixes() [2]string { return [2]string{"webhook.", "delivery."} }

// reservedPrefix returns the prefix that makes t one of the platform's types, and
// whether there is one.
func (t EventType) reservedPrefix() (string, bool) {
	for _, prefix := range reservedPrefixes() {
		if strings.HasPrefix(t.name, prefix) {
			return prefix, true
		}
	}
	return "", false
}

// Notice is what the platform has to say about a webhook.
type Notice struct {
	ID          EventID
	Type        EventType // one of the platform's
	Tenant      TenantID
	At          time.Time
	Webhook     WebhookID
	WebhookName string
	// Reason is why the webhook was disabled.
	Reason string
	// Failing is how it has been failing, also when it has recovered; the zero value
	// is for unknown.
	Failing Failing
	// Delivery is the exhausted one, its last attempt included.
	Delivery Delivery
}

// Event returns the event that tells it. Equal notices give equal events.
func (n Notice) Event() (Event, error) {
	body, err := n.newEvent().Body(n.ID, n.At)
	if err != nil {
		return Event{}, err
	}
	return Event{ID: n.ID, Tenant: n.Tenant, Type: n.Type, Body: body, CreatedAt: n.At}, nil
}

func (n Notice) newEvent() NewEvent {
	e := NewEvent{Tenant: n.Tenant, Type: n.Type, ObjectType: n.Type.ObjectType(), ObjectID: n.Webhook.String(), OccurredAt: n.At}
	var object, previous members
	switch n.Type {
	case DeliveryExhausted:
		e.ObjectID, object = n.Delivery.ID.String(), n.delivery()
	case WebhookDisabled:
		object = n.webhook(Disabled, n.Failing)
		previous = members{{"status", `"ACTIVE"`}, {"statusReason", `null`}}
	case WebhookRecovered:
		object = n.webhook(Active, Failing{})
		if !n.Failing.Since.IsZero() {
			previous = n.Failing.members()
		}
	default:
		object, previous = n.webhook(Active, n.Failing), Failing{}.members()
	}
	e.Object = object.json()
	if previous != nil {
		e.Previous = previous.json()
	}
	return e
}

// webhook leaves the URL out: for many receivers, whoever knows it may use it.
func (n Notice) webhook(status Status, f Failing) members {
	return append(members{
		{"id", jsonString(n.Webhook.String())},
		{"name", jsonString(n.WebhookName)},
		{"status", jsonString(strings.ToUpper(string(status)))},
		{"statusReason", jsonOrNull(n.Reason)},
	}, f.members()...)
}

func (f Failing) members() members {
	since := `null`
	if !f.Since.IsZero() {
		since = jsonString(f.Since.UTC().Format(wireTime))
	}
	return members{{"failingSince", since}, {"failedDeliveries", strconv.Itoa(f.Deliveries)}}
}

func (n Notice) delivery() members {
	d := n.Delivery
	responseStatus := `null`
	if d.ResponseStatus != 0 {
		responseStatus = strconv.Itoa(d.ResponseStatus)
	}
	return members{
		{"id", jsonString(d.ID.String())},
		{"webhookId", jsonString(n.Webhook.String())},
		{"webhookName", jsonString(n.WebhookName)},
		{"eventId", jsonString(d.EventID.String())},
		{"eventType", jsonString(d.EventType.String())},
		{"status", jsonString(strings.ToUpper(string(Failed)))},
		{"failureReason", jsonString(strings.ToUpper(string(d.FailureReason)))},
		{"attemptCount", strconv.Itoa(d.AttemptCount)},
		{"responseStatus", responseStatus},
		{"lastError", jsonOrNull(d.LastError)},
	}
}

func jsonString(s string) string { return string(appendJSONString(nil, s)) }

func jsonOrNull(s string) string {
	if s == "" {
		return `null`
	}
	return jsonString(s)
}

func platformEvents() []builtIn {
	return []builtIn{
		{enum: "WEBHOOK_DISABLED", description: "The service disabled a webhook, after a 410 or after lasting failure; sent by the service only."},
		{enum: "WEBHOOK_FAILING", description: "A webhook lost a delivery or failed for an hour, with no success since; sent by the service only."},
		{enum: "WEBHOOK_RECOVERED", description: "A delivery to a webhook that was failing has succeeded; sent by the service only."},
		{enum: "DELIVERY_EXHAUSTED", description: "A delivery has used up its attempts and failed for good; sent by the service only."},
	}
}

// exampleNotice is made as the real ones are.
func exampleNotice(t EventType, tenant TenantID) Notice {
	at := exampleTime()
	hook, event := NewWebhookID(at.AddDate(0, -2, 0), [10]byte{1}), NewEventID(at.Add(-17*time.Second), [10]byte{2})
	n := Notice{
		Type: t, Tenant: tenant, At: at, Webhook: hook, WebhookName: "Billing",
		Failing: Failing{Since: at.Add(-121 * time.Hour), Until: at, Deliveries: 23},
	}
	switch t {
	case WebhookDisabled:
		n.Reason = n.Failing.Reason()
	case DeliveryExhausted:
		n.Delivery = Delivery{
			ID: DeliveryIDFor(event, hook), EventID: event, EventType: EventType{"lead.created"}, FailureReason: AttemptsExhausted,
			AttemptCount: DefaultMaxAttempts, ResponseStatus: statusServiceUnavailable, LastError: "receiver answered 503",
		}
	}
	return n
}
