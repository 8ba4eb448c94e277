package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// endsLate is how long it may take the receiver to see that a sender has given up.
// What is judged lasts a second and longer.
const endsLate = 200 * time.Millisecond

// mostAtOnce is how many of the requests that pick chooses were under way at the same
// time, at most. Those that have not ended are not known.
func mostAtOnce(arrivals []stage.Arrival, pick func(name string) bool) (most int) {
	type change struct {
		at int64
		by int
	}
	var changes []change
	for _, a := range arrivals {
		if end := a.Ended - int64(endsLate); pick(a.Name) && end > a.Nanos {
			changes = append(changes, change{a.Nanos, 1}, change{end, -1})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	now := 0
	for _, c := range changes {
		now += c.by
		most = max(most, now)
	}
	return most
}

// named picks the requests of one name.
func named(name string) func(string) bool { return func(n string) bool { return n == name } }
