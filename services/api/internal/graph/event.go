package graph

import (
	"context"
	"fmt"
	"strconv"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

const (
	maxEvents = 1_000
	// maxUserErrors bounds an answer: each of 1,000 events can be wrong nine times.
	maxUserErrors = 100
)

// Accepter takes events in.
type Accepter interface {
	// Accept stores all events and what they owe, or none. The paths of faults are
	// relative to the list: they start with an index when it has several events.
	Accept(ctx context.Context, events []webhook.NewEvent) ([]webhook.AcceptedEvent, error)
}

// dispatchInput is the input DispatchEventInput.
type dispatchInput struct {
	Event          *string
	CustomEvent    *text
	ObjectID       identifier
	Object         jsonValue
	Previous       *jsonValue
	OccurredAt     *timestamp
	IdempotencyKey *text
	CorrelationID  *text
}

func (in dispatchInput) parse(tenant webhook.TenantID, traceParent string) (webhook.NewEvent, error) {
	draft := webhook.EventDraft{
		CustomEvent:    (*string)(in.CustomEvent),
		ObjectID:       string(in.ObjectID),
		Object:         in.Object.raw,
		IdempotencyKey: (*string)(in.IdempotencyKey),
		CorrelationID:  (*string)(in.CorrelationID),
		TraceParent:    traceParent,
	}
	if in.Event != nil {
		eventType, err := eventTypeOf("event", *in.Event)
		if err != nil {
			return webhook.NewEvent{}, err
		}
		draft.Event = &eventType
	}
	if in.Previous != nil {
		draft.Previous = in.Previous.raw
	}
	if in.OccurredAt != nil {
		draft.OccurredAt = &in.OccurredAt.Time
	}
	return draft.Parse(tenant)
}

// dispatchPayload is the type DispatchEventPayload.
type dispatchPayload struct {
	EventID       *identifier
	DeliveryCount *int32
	Duplicate     *bool
	UserErrors    []userError
}

// DispatchEvent accepts one event (I1).
func (m *mutation) DispatchEvent(ctx context.Context, args struct{ Input dispatchInput }) (dispatchPayload, error) {
	principal, err := enter(ctx, opDispatchEvent)
	if err != nil {
		return dispatchPayload{}, err
	}
	event, err := args.Input.parse(principal.Tenant, obs.TraceParent(ctx))
	if err != nil {
		faults, err := m.mend(ctx, err, "input")
		return dispatchPayload{UserErrors: faults}, err
	}
	accepted, err := m.accept(ctx, []webhook.NewEvent{event})
	if err != nil {
		faults, err := m.mend(ctx, err, "input")
		return dispatchPayload{UserErrors: faults}, err
	}
	id, deliveries := identifierOf(accepted[0].ID), count(accepted[0].Deliveries)
	return dispatchPayload{EventID: &id, DeliveryCount: &deliveries, Duplicate: &accepted[0].Duplicate}, nil
}

// dispatchManyPayload is the type DispatchEventsPayload.
type dispatchManyPayload struct {
	budget *budget
	ids    []identifier

	DeliveryCount *int32
	UserErrors    []userError
}

// EventIDs answers the events' ids in their order, null when none was accepted.
func (p dispatchManyPayload) EventIDs() *[]identifier {
	if len(p.ids) == 0 {
		return nil
	}
	for _, id := range p.ids {
		p.budget.text(string(id))
	}
	return &p.ids
}

// DispatchEvents accepts all events or none (I1).
func (m *mutation) DispatchEvents(ctx context.Context, args struct{ Inputs []dispatchInput }) (dispatchManyPayload, error) {
	principal, err := enter(ctx, opDispatchMany)
	if err != nil {
		return dispatchManyPayload{}, err
	}
	// The edge has taken one for each field that accepts events.
	if wait, ok := m.Events.Take(principal.Tenant, max(0, min(len(args.Inputs), maxEvents)-1)); !ok {
		return dispatchManyPayload{}, &apiError{code: protocol.CodeLimitExceeded, message: protocol.TooFast("events"), wait: wait}
	}
	events, err := parseEvents(args.Inputs, principal.Tenant, obs.TraceParent(ctx))
	if err != nil {
		faults, err := m.mend(ctx, err)
		return dispatchManyPayload{UserErrors: faults}, err
	}
	accepted, err := m.accept(ctx, events)
	if err != nil {
		prefix := []string{"inputs"}
		if len(events) == 1 {
			prefix = append(prefix, "0")
		}
		faults, err := m.mend(ctx, err, prefix...)
		return dispatchManyPayload{UserErrors: faults}, err
	}
	ids := make([]identifier, len(accepted))
	var total int
	for i, a := range accepted {
		ids[i] = identifierOf(a.ID)
		total += a.Deliveries
	}
	deliveries := count(total)
	return dispatchManyPayload{budget: budgetOf(ctx), ids: ids, DeliveryCount: &deliveries}, nil
}

// parseEvents names the faults of all events, by their place in the list.
func parseEvents(inputs []dispatchInput, tenant webhook.TenantID, traceParent string) ([]webhook.NewEvent, error) {
	switch {
	case len(inputs) == 0:
		return nil, webhook.Invalid("inputs", "must not be empty")
	case len(inputs) > maxEvents:
		return nil, webhook.LimitExceeded("inputs", fmt.Sprintf("must have at most %d entries", maxEvents))
	}
	events := make([]webhook.NewEvent, 0, len(inputs))
	var faults webhook.Errors
	for i, in := range inputs {
		event, err := in.parse(tenant, traceParent)
		for _, fault := range webhook.Faults(err) {
			faults = append(faults, fault.Under("inputs", strconv.Itoa(i)))
		}
		if len(faults) >= maxUserErrors {
			break
		}
		events = append(events, event)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return events, nil
}

func (a *api) accept(ctx context.Context, events []webhook.NewEvent) ([]webhook.AcceptedEvent, error) {
	accepted, err := a.Accept.Accept(ctx, events)
	if err == nil && len(accepted) != len(events) {
		return nil, fmt.Errorf("accepting %d events: got %d answers", len(events), len(accepted))
	}
	return accepted, err
}

// eventTypesOf finds types by their names in the schema.
func eventTypesOf(names []string) ([]webhook.EventType, error) {
	types := make([]webhook.EventType, 0, len(names))
	for i, name := range names {
		eventType, err := eventTypeOf("events."+strconv.Itoa(i), name)
		if err != nil {
			return nil, err
		}
		types = append(types, eventType)
	}
	return types, nil
}

// eventType is the type WebhookEventType.
type eventType struct {
	budget  *budget
	entry   webhook.CatalogueEntry
	example []byte

	Event  string
	Object string
}

// Name answers the wire name.
func (t eventType) Name() string { return t.budget.text(t.entry.Type.String()) }

// Description answers when such an event happens.
func (t eventType) Description() string { return t.budget.text(t.entry.Description) }

// ExamplePayload answers a whole request body.
func (t eventType) ExamplePayload() jsonValue {
	return t.budget.json(t.example)
}

// WebhookEvents answers the catalogue.
func (q *query) WebhookEvents(ctx context.Context) ([]eventType, error) {
	if _, err := enter(ctx, opWebhookEvents); err != nil {
		return nil, err
	}
	catalogue := webhook.Catalogue()
	out := make([]eventType, len(catalogue))
	for i, entry := range catalogue {
		out[i] = eventType{budget: budgetOf(ctx), entry: entry, example: entry.ExamplePayload(), Event: entry.Enum, Object: enumOf(entry.Object)}
	}
	return out, nil
}
