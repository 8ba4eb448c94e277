package graph

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

// testPayload is the type TestWebhookPayload.
type testPayload struct {
	budget  *budget
	problem string

	Success        bool
	ResponseStatus *int32
	DurationMs     *int32
	Delivery       *delivery
	UserErrors     []userError
}

// Error answers what went wrong, null when nothing did.
func (p testPayload) Error() *string { return p.budget.textOrNull(p.problem) }

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
	// Waiting for a receiver keeps nobody from anything.
	var result manage.TestResult
	if !limit.PlaceOf(ctx).StepAside(ctx, func() { result, err = m.Management.Test(ctx, principal.Tenant, id, event) }) {
		return testPayload{}, &apiError{code: protocol.CodeLimitExceeded, message: protocol.TooMany("test sends"), wait: protocol.Busy}
	}
	if err != nil {
		faults, err := m.mend(ctx, err)
		return testPayload{UserErrors: faults}, err
	}
	shown := testPayload{
		Success:        result.Success,
		ResponseStatus: statusOf(result.ResponseStatus),
		budget:         budgetOf(ctx),
		problem:        result.Error,
		Delivery:       m.showDelivery(ctx, principal.Tenant, result.Delivery),
	}
	if result.Duration > 0 {
		ms := wholeMilliseconds(result.Duration)
		shown.DurationMs = &ms
	}
	return shown, nil
}
