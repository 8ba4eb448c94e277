package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// recordedBefore finds outcomes among the attempts. It has to be a statement of
// its own: the one that found no row to settle sees nothing that was committed
// while it waited for a lane, and whom it waited for may have been its twin, whose
// answer got lost.
const recordedBefore = `
SELECT o.id FROM unnest($1::uuid[], $2::int[], $3::timestamptz[]) AS o (id, number, started_at)
JOIN attempts a ON a.delivery_id = o.id AND a.number = o.number AND a.started_at = o.started_at`

// lost returns those of the unsettled deliveries whose outcomes are not recorded.
// When it cannot find out, that is all of them: what is recorded stays so, and
// only its log line and its timer are missing.
func (s *Work) lost(ctx context.Context, unsettled []webhook.DeliveryID, outcomes []webhook.Outcome) []webhook.DeliveryID {
	var ids, starts []string
	var numbers []int
	for _, o := range outcomes {
		if slices.Contains(unsettled, o.Claim.Delivery) {
			ids, numbers = append(ids, o.Claim.Delivery.UUID()), append(numbers, o.Attempt.Number)
			starts = append(starts, startOf(o.Attempt))
		}
	}
	var recorded []string
	if err := s.stmts.selectAll(ctx, &recorded, recordedBefore, pq.Array(ids), pq.Array(numbers), pq.Array(starts)); err != nil {
		return unsettled
	}
	return slices.DeleteFunc(unsettled, func(id webhook.DeliveryID) bool { return slices.Contains(recorded, id.UUID()) })
}

// startOf is an attempt's start as it is stored.
func startOf(a webhook.Attempt) string { return a.StartedAt.UTC().Format(time.RFC3339Nano) }
