package graph

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	gqlerrors "github.com/graph-gophers/graphql-go/errors"

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
	// What loading payloads or attempts costs for each delivery, and loading
	// anything for each of so many bytes that came: they may be large.
	largeItemCost = 10
	bytesPerCost  = 1 << 10
	// What reading a tenant's whole log costs when it has scanRows deliveries or
	// more; with fewer it costs less in proportion. Keeping the counts of several
	// webhooks apart costs as much again.
	scanCost = 4_500
	scanRows = 100_000
	// What a tenant's rate counts as another request, with 1 for each KiB of the
	// answer: the dearest is some 360 of them.
	costPerRequest = 50
)

// How large an answer may become. What was loaded once can be asked for under 50
// names, and fragments multiply that: so it is counted where it is written, each
// time, as JSON has it. The library copies an answer at each of its levels; it
// takes several times as much memory as it has bytes.
const (
	maxAnswerBytes = 8 << 20
	// largeBytes is where what was loaded and written together begins to be large.
	// There are few large answers at a time.
	largeBytes = 1 << 20
	// What a field takes besides its name: punctuation, and a value of bounded size
	// (an id, a time, a number, a cursor, a name of the schema). Others count on
	// their own, see text.
	fieldBytes = 56
	// maxFailures is how many fields may fail. The answer names 20, the library
	// keeps all.
	maxFailures = 1_000
)

const (
	selectLess = "must select less: smaller pages, or fewer lists inside lists"
	countLess  = "must count less: fewer statistics, totalCounts and lists by status or event in one request"
	answerLess = "must select less: its answer would have more than 8 MiB"
)

// budget adds up what a request asks for and what its answer becomes. All methods
// of nil do nothing: what is not called through Exec has no budget.
type budget struct {
	spent   atomic.Int64
	rows    lazy[int]  // of the tenant's log, up to scanRows
	loading sync.Mutex // held while something large is loaded, so that it counts before the next

	written  atomic.Int64
	loaded   atomic.Int64
	nameSize int // of the longest alias
	failures atomic.Int64

	// refuse ends the request: nothing is executed any more, and all that is
	// answered is this error. The caller gets on until its context is looked at.
	refuse func(error)
	// enlarge returns when the answer may be large, or has been refused. It is
	// called as long as the answer grows.
	enlarge func()
}

func budgetOf(ctx context.Context) *budget {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return &r.budget
	}
	return nil
}

// spend fails when the request has asked for too much, and ends it. It is called
// before anything is loaded.
func (b *budget) spend(cost int, rule string) error {
	if b == nil || b.spent.Add(int64(cost)) <= maxCost {
		return nil
	}
	err := webhook.LimitExceeded("query", rule)
	b.refuse(err)
	return err
}

func spend(ctx context.Context, cost int) error { return budgetOf(ctx).spend(cost, selectLess) }

// spendScan is spend for what reads all deliveries of a period: statistics,
// totalCount, and lists filtered by what no index holds. A small tenant may ask
// for many, one with a million deliveries for two.
func (a *api) spendScan(ctx context.Context, tenant webhook.TenantID, times int) error {
	b := budgetOf(ctx)
	if b == nil {
		return nil
	}
	if err := b.spend(statementCost, selectLess); err != nil {
		return err
	}
	rows, err := b.rows.get(func() (int, error) { return a.Management.LogSize(ctx, tenant, scanRows) })
	if err != nil {
		return err
	}
	return b.spend(times*rows*scanCost/scanRows, countLess)
}

// load loads what may be large and pays for its bytes, of which at most most may
// come: more are webhook.ErrLimitExceeded. Nothing else of the request is loaded
// meanwhile: together they might be far more than each alone.
func (b *budget) load(get func(most int) (bytes int, err error)) error {
	if b == nil {
		_, err := get(maxCost * bytesPerCost)
		return err
	}
	b.loading.Lock()
	defer b.loading.Unlock()
	left := max(0, maxCost-int(b.spent.Load())) * bytesPerCost
	small := max(0, min(left, largeBytes-int(b.written.Load()+b.loaded.Load())))
	bytes, err := 0, error(webhook.ErrLimitExceeded)
	if small > 0 || left == 0 { // otherwise only a large one will do
		bytes, err = get(small)
	}
	if errors.Is(err, webhook.ErrLimitExceeded) && small < left {
		b.enlarge()
		bytes, err = get(left)
	}
	if err != nil {
		return err
	}
	b.count(&b.loaded, bytes)
	return b.spend(bytes/bytesPerCost, selectLess)
}

// field counts a field of the answer.
func (b *budget) field(name string) { b.write(max(len(name), b.nameSize) + fieldBytes) }

// text counts a text that may be longer than fieldBytes and returns it. Whatever
// resolves to such a text passes it through here, each time it is asked for.
func (b *budget) text(s string) string {
	if b != nil {
		b.write(textSize(s))
	}
	return s
}

// textOrNull is text for what is null when empty.
func (b *budget) textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	b.text(s)
	return &s
}

// texts is text for a list.
func (b *budget) texts(list []string) []string {
	for _, s := range list {
		b.text(s)
	}
	return list
}

// json is text for a JSON value.
func (b *budget) json(raw []byte) jsonValue {
	if b != nil {
		b.write(rawSize(raw))
	}
	return jsonValue{raw}
}

func (b *budget) write(n int) {
	b.count(&b.written, n)
	if b.written.Load() > maxAnswerBytes {
		b.refuse(webhook.LimitExceeded("query", answerLess))
	}
}

func (b *budget) count(what *atomic.Int64, n int) {
	what.Add(int64(n))
	if b.written.Load()+b.loaded.Load() > largeBytes {
		b.enlarge()
	}
}

// requests is how many requests this one counts for, beyond itself.
func (b *budget) requests() int {
	return int((b.spent.Load() + b.written.Load()>>10) / costPerRequest)
}

// finish counts a field that failed: more than some end the request.
func (b *budget) finish(err *gqlerrors.QueryError) {
	if err != nil && b.failures.Add(1) > maxFailures {
		b.refuse(err)
	}
}

// textSize is how many bytes a text takes in an answer, quotes and a comma
// included.
func textSize(s string) int {
	n := len(s) + len(`"",`)
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 || r == '\u2028' || r == '\u2029' {
				n += len(`\u2028`) - size
			}
			i += size
			continue
		case c == '"', c == '\\', c >= '\b' && c <= '\r' && c != '\v':
			n++
		case c < ' ', c == '<', c == '>', c == '&':
			n += len(`\u003c`) - 1
		}
		i++
	}
	return n
}

// rawSize is textSize for JSON, whose texts have their escapes already.
func rawSize(raw []byte) int {
	n := len(raw)
	for i, c := range raw {
		switch c {
		case '<', '>', '&':
			n += len(`\u003c`) - 1
		case 0xa8, 0xa9: // the last byte of U+2028 and U+2029
			if i >= 2 && raw[i-2] == 0xe2 && raw[i-1] == 0x80 {
				n += len(`\u2028`) - len("\u2028")
			}
		}
	}
	return n
}
