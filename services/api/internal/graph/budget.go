package graph

import (
	"context"
	"sync/atomic"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// What a request may cost. An item of a list costs 1. Depth and page sizes alone
// would allow 100 x 100 x 100 items; the peers' limits are of this order, too.
//
// Measured on a tenant with 1,000,000 deliveries: cost_bench_test.go shows what the
// dearest requests that these numbers allow take.
const (
	maxCost = 10_000
	// What a statement for one node costs on top of its items.
	statementCost = 20
	// What loading payloads or attempts costs for each delivery, and for each of
	// so many bytes that came: both may be large.
	largeItemCost = 10
	bytesPerCost  = 2 << 10
	// What reading a tenant's whole log costs when it has scanRows deliveries or
	// more; with fewer it costs less in proportion. Keeping the counts of several
	// webhooks apart costs as much again.
	scanCost = 3_500
	scanRows = 100_000
)

// budget adds up what a request has asked for.
type budget struct {
	spent atomic.Int64
	rows  lazy[int] // of the tenant's log, up to scanRows
}

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

// spendScan is spend for what reads all deliveries of a period: statistics,
// totalCount, and lists filtered by what no index holds. A small tenant may ask
// for many, one with a million deliveries for two.
func (a *api) spendScan(ctx context.Context, tenant webhook.TenantID, times int) error {
	r, ok := ctx.Value(requestKey{}).(*request)
	if !ok {
		return nil
	}
	if err := spend(ctx, statementCost); err != nil {
		return err
	}
	rows, err := r.budget.rows.get(func() (int, error) { return a.Management.LogSize(ctx, tenant, scanRows) })
	if err != nil {
		return err
	}
	if r.budget.spent.Add(int64(times)*int64(rows)*scanCost/scanRows) > maxCost {
		return webhook.LimitExceeded("query", "must count less: fewer statistics, totalCounts and lists by status or event in one request")
	}
	return nil
}
