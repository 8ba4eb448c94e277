package postgres

import (
	"slices"
	"time"

	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	lowestUUID  = "00000000-0000-0000-0000-000000000000"
	highestUUID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
	// maxUnixMilli is the last millisecond that an id can carry.
	maxUnixMilli = 1<<48 - 1
)

// span is a range of ids in canonical text, which sorts as PostgreSQL sorts
// them. No stored id equals a bound that stands for a time.
type span struct{ low, high string }

func everything() span { return span{lowestUUID, highestUUID} }

// createdWithin returns the ids of what was created at or after since and before
// until; a zero time is open.
func createdWithin(since, until time.Time) span {
	s := everything()
	if !since.IsZero() {
		s.low = floorUUID(since)
	}
	if !until.IsZero() {
		s.high = floorUUID(until)
	}
	return s
}

// floorUUID is the smallest id created at or after t. Ids know milliseconds: one
// within t's own millisecond was created before t, unless t is its start.
func floorUUID(t time.Time) string {
	if whole := t.Truncate(time.Millisecond); whole.Before(t) {
		t = whole.Add(time.Millisecond)
	}
	if t.Year() > 9999 || t.UnixMilli() > maxUnixMilli {
		return highestUUID
	}
	return webhook.TimeFloorUUID(t)
}

// narrowed returns what s has in common with other.
func (s span) narrowed(other span) span {
	return span{low: max(s.low, other.low), high: min(s.high, other.high)}
}

// with appends parameters without touching args.
func with(args []any, more ...any) []any { return slices.Concat(args, more) }

// pageReader reads a list that is ordered newest first, by id.
type pageReader[Row any] struct {
	// rows returns at most limit rows between the bounds, both excluded: the
	// newest ones, newest first, or backward the oldest ones, oldest first.
	rows func(within span, limit int, backward bool) ([]Row, error)
	// any reports whether there are rows between the bounds, both included.
	any func(within span) (bool, error)
}

// readPage reads one page of what within holds, and whether there is more on
// either side of it. The cursors are looked at as bounds only: their rows may be
// gone, or be another tenant's.
func readPage[ID interface{ UUID() string }, Row any](p webhook.Page[ID], within span, read pageReader[Row]) (webhook.Slice[Row], error) {
	newer, older, inner := within, within, within
	if p.After != nil {
		after := (*p.After).UUID()
		newer, inner = newer.narrowed(span{after, highestUUID}), inner.narrowed(span{lowestUUID, after})
	}
	if p.Before != nil {
		before := (*p.Before).UUID()
		older, inner = older.narrowed(span{lowestUUID, before}), inner.narrowed(span{before, highestUUID})
	}
	rows, err := read.rows(inner, p.Limit+1, p.Backward)
	if err != nil {
		return webhook.Slice[Row]{}, err
	}
	more := len(rows) > p.Limit
	page := webhook.Slice[Row]{
		Items:   rows[:min(len(rows), p.Limit)],
		HasNext: more && !p.Backward, HasPrevious: more && p.Backward,
	}
	if p.Backward {
		slices.Reverse(page.Items)
	}
	// What the limit did not cut off on a side is there only if a cursor did.
	if !page.HasNext && p.Before != nil {
		if page.HasNext, err = read.any(older); err != nil {
			return webhook.Slice[Row]{}, err
		}
	}
	if !page.HasPrevious && p.After != nil {
		if page.HasPrevious, err = read.any(newer); err != nil {
			return webhook.Slice[Row]{}, err
		}
	}
	return page, nil
}

// mapRows parses rows, all or none.
func mapRows[Row, T any](rows []Row, parse func(Row) (T, error)) ([]T, error) {
	out := make([]T, len(rows))
	for i, row := range rows {
		var err error
		if out[i], err = parse(row); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// anyOf is a text[] parameter that stands for no condition, NULL, when empty.
func anyOf[T any](values []T, text func(T) string) any {
	if len(values) == 0 {
		return nil
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = text(v)
	}
	return pq.Array(out)
}
