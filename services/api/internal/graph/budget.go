package graph

import (
	"context"
	"sync/atomic"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// What a request may cost. An item of a list costs 1. Depth and page sizes alone
// would allow 100 x 100 x 100 items; the peers' limits are of this order, too.
const (
	maxCost = 10_000
	// What a statement for one node costs on top of its items.
	statementCost = 10
	// What loading payloads or attempts costs for each delivery: both may be large.
	largeItemCost = 4
)

// budget adds up what a request has asked for.
type budget struct{ spent atomic.Int64 }

// spend fails when the request has asked for too much. It is called before
// anything is loaded.
func spend(ctx context.Context, cost int) error {
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return nil // not called through Exec
	}
	if r.budget.spent.Add(int64(cost)) > maxCost {
		return webhook.LimitExceeded("query", "must select less: smaller pages, or fewer lists inside lists")
	}
	return nil
}
