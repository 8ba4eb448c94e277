package graph

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// testPayload is the type TestWebhookPayload.
type testPayload struct {
	Success        bool
	ResponseStatus *int32
	DurationMs     *int32
	Error          *string
	Delivery       *delivery
	UserErrors     []userError
}

// TestWebhook sends a test event and answers how it went.
func (m *mutation) TestWebhook(ctx context.Context, args struct {
	ID    identifier
	Event *string
}) (testPayload, error) {
	principal, err := enter(ctx, opTestWebhook)
	if err != nil {
		return testPayload{}, err
	}
	id, err := webhookIDOf(args.ID)
	if err != nil {
		faults, err := m.mend(ctx, err)
		return testPayload{UserErrors: faults}, err
	}
	var event *webhook.CatalogueEntry
	if args.Event != nil {
		entry, ok := webhook.LookupEnum(*args.Event)
		if !ok {
			faults, err := m.mend(ctx, webhook.Invalid("event", "must be a built-in event type"))
			return testPayload{UserErrors: faults}, err
		}
		event = &entry
	}
	result, err := m.Management.Test(ctx, principal.Tenant, id, event)
	if err != nil {
		faults, err := m.mend(ctx, err)
		return testPayload{UserErrors: faults}, err
	}
	shown := testPayload{
		Success:        result.Success,
		ResponseStatus: statusOf(result.ResponseStatus),
		Error:          orNull(result.Error),
		Delivery:       m.showDelivery(principal.Tenant, result.Delivery),
	}
	if result.Duration > 0 {
		ms := wholeMilliseconds(result.Duration)
		shown.DurationMs = &ms
	}
	return shown, nil
}
