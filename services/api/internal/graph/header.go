package graph

import "github.com/crm-webhooks/crm-webhooks/pkg/webhook"

// header is the type WebhookHeader.
type header struct {
	budget *budget
	field  webhook.Field
}

func showHeaders(b *budget, fields []webhook.Field) []header {
	out := make([]header, len(fields))
	for i, field := range fields {
		out[i] = header{b, field}
	}
	return out
}

// Name answers the header's name.
func (h header) Name() string { return h.budget.text(h.field.Name) }

// Value answers the header's value.
func (h header) Value() string { return h.budget.text(h.field.Value) }
