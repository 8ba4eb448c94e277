package graph

import "github.com/crm-webhooks/crm-webhooks/pkg/webhook"

// attempt is the type WebhookDeliveryAttempt.
type attempt struct {
	budget *budget
	row    webhook.Attempt

	Number         int32
	StartedAt      timestamp
	DurationMs     int32
	ResponseStatus *int32
	ErrorClass     *string
}

func showAttempt(b *budget, row webhook.Attempt) attempt {
	return attempt{
		budget:         b,
		row:            row,
		Number:         count(row.Number),
		StartedAt:      timestamp{row.StartedAt},
		DurationMs:     wholeMilliseconds(row.Duration),
		ResponseStatus: statusOf(row.ResponseStatus),
		ErrorClass:     orNull(string(row.ErrorClass)),
	}
}

// Error answers what went wrong, null when nothing did.
func (a attempt) Error() *string { return a.budget.textOrNull(a.row.Error) }

// RequestHeaders answers what was sent, credentials masked.
func (a attempt) RequestHeaders() []header { return showHeaders(a.budget, a.row.RequestHeaders) }

// ResponseHeaders answers what came.
func (a attempt) ResponseHeaders() []header { return showHeaders(a.budget, a.row.ResponseHeaders) }

// ResponseBody answers what came, null when there was no answer.
func (a attempt) ResponseBody() *string {
	if a.row.ResponseStatus == 0 {
		return nil
	}
	a.budget.text(a.row.ResponseBody)
	return &a.row.ResponseBody
}

// attemptsSize is about how many bytes attempts have.
func attemptsSize(attempts []webhook.Attempt) (n int) {
	for _, a := range attempts {
		n += len(a.ResponseBody) + len(a.Error) + fieldsSize(a.RequestHeaders) + fieldsSize(a.ResponseHeaders)
	}
	return n
}

func fieldsSize(fields []webhook.Field) (n int) {
	for _, f := range fields {
		n += len(f.Name) + len(f.Value)
	}
	return n
}

// statusOf returns nil, which is null, when no answer came.
func statusOf(code int) *int32 {
	if code == 0 {
		return nil
	}
	status := count(code)
	return &status
}
