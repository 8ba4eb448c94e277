package webhook

import "time"

// Page bounds of a list.
const (
	DefaultPageSize = 20
	MaxPageSize     = 100
)

// Page selects a window of a list that is ordered newest first, by id. Keyset
// bounds keep it stable while rows are added.
type Page[ID any] struct {
	Limit    int  // 1 to MaxPageSize
	After    *ID  // only what follows this id
	Before   *ID  // only what precedes this id
	Backward bool // the Limit items nearest to the end, still newest first
}

// Slice is a page of a list.
type Slice[T any] struct {
	Items       []T
	HasNext     bool
	HasPrevious bool
}

// WebhookFilter narrows a list of webhooks; zero values do not.
type WebhookFilter struct {
	Statuses []Status
	Event    EventType // webhooks that get events of this type, by name or pattern
	Search   string    // in name, description or URL, whatever the case
}

// DeliveryFilter narrows a list of deliveries; zero values do not.
type DeliveryFilter struct {
	Webhook       *WebhookID
	Statuses      []DeliveryStatus
	Events        []EventType
	Event         *EventID
	CreatedAfter  time.Time
	CreatedBefore time.Time
}

// Period is a span of time over the creation of deliveries; a zero bound is open.
type Period struct{ Since, Until time.Time }

// Stats counts deliveries by status and times the last attempt of finished ones.
type Stats struct {
	Total, Pending, Retrying, Succeeded, Failed int
	AverageDuration, P95Duration                *time.Duration // nil: nothing finished
}

// SuccessRate is succeeded / (succeeded + failed), nil before the first finish.
func (s Stats) SuccessRate() *float64 {
	finished := s.Succeeded + s.Failed
	if finished == 0 {
		return nil
	}
	rate := float64(s.Succeeded) / float64(finished)
	return &rate
}
