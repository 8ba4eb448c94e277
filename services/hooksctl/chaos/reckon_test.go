package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tenant = webhook.TenantID("acme")

// openBooks are of one webhook and one event, accepted a second before the
// fault and delivered at once; at the first attempt, unless the webhook refuses it.
func openBooks(refused bool) (books, webhook.EventID, webhook.DeliveryID) {
	struck := time.UnixMilli(1_800_000_000_000)
	accepted := struck.Add(-time.Second)
	event := webhook.NewEventID(accepted, [10]byte{1})
	flaky := hook{flaky: true}
	delivery := webhook.DeliveryIDFor(event, flaky.id)
	for n := byte(0); stage.Refuses(delivery.String()) != refused; n++ {
		flaky.id = webhook.NewWebhookID(accepted, [10]byte{2, n})
		delivery = webhook.DeliveryIDFor(event, flaky.id)
	}
	stored := []storedEvent{{id: event, tenant: tenant, tag: "m0"}}
	return books{
		fault: fault{name: "f", refusals: []string{unavailable}}, struck: struck,
		mutations: []*mutation{{tag: "m0", tenant: tenant, size: 1, sent: accepted, ended: accepted, events: []webhook.EventID{event}}},
		before:    stored,
		stored: ledger{
			events:     stored,
			deliveries: map[webhook.DeliveryID]storedDelivery{delivery: {attempts: 1, succeeded: accepted.Add(time.Millisecond)}},
		},
		arrived: []stage.Arrival{{Delivery: delivery.String(), Attempt: 1, Answered: true}},
		drained: true,
		hooks:   map[webhook.TenantID][]hook{tenant: {flaky}},
	}, event, delivery
}

// recorded has a delivery succeed some time after its event was accepted.
func (b *books) recorded(d webhook.DeliveryID, attempts int, took time.Duration) {
	b.stored.deliveries[d] = storedDelivery{attempts: attempts, succeeded: b.mutations[0].sent.Add(took)}
}

func TestBooks_balance(t *testing.T) {
	t.Parallel()
	good := result{Fault: "f", Accepted: 1, Owed: 1, Delivered: 1}
	lost := func(r *result) { r.Delivered, r.Lost, r.Broken = 0, 1, []string{"1 deliveries lost"} }
	for name, tc := range map[string]struct {
		change func(*books, webhook.EventID, webhook.DeliveryID)
		want   func(*result)
	}{
		"all is well": {func(*books, webhook.EventID, webhook.DeliveryID) {}, func(*result) {}},
		"accepted, but not stored": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) {
				b.before, b.stored.events, b.arrived = nil, nil, nil
				delete(b.stored.deliveries, d)
			},
			func(r *result) {
				lost(r)
				r.Broken = append([]string{"1 mutations answered with success are not stored exactly once"}, r.Broken...)
			},
		},
		"stored as success, but it never came": {func(b *books, _ webhook.EventID, _ webhook.DeliveryID) { b.arrived = nil }, lost},
		"it came, but was not answered":        {func(b *books, _ webhook.EventID, _ webhook.DeliveryID) { b.arrived[0].Answered = false }, lost},
		"it came, but is not recorded": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) {
				b.stored.deliveries[d] = storedDelivery{attempts: 1}
			}, lost,
		},
		"a further attempt after a refusal": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) {
				again := b.arrived[0]
				b.arrived[0].Answered, again.Attempt = false, 2
				b.arrived = append(b.arrived, again)
				b.recorded(d, 2, time.Millisecond)
			},
			func(*result) {},
		},
		"recorded late": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) {
				b.recorded(d, 1, 10*time.Second)
			},
			func(r *result) { r.Recovery, r.Late = 9, 1 },
		},
		"recorded too late": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) {
				b.recorded(d, 1, usualWithin+2*time.Second)
			},
			func(r *result) {
				r.Recovery, r.Late, r.Broken = 21, 1, []string{"recovered after 21.0 s, not within 20.0 s"}
			},
		},
		"answered late": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) {
				b.mutations[0].ended = b.struck.Add(3 * time.Second)
				b.recorded(d, 1, 4*time.Second)
			},
			func(r *result) { r.Recovery = 3 },
		},
		"a request that nobody is owed": {
			func(b *books, _ webhook.EventID, _ webhook.DeliveryID) {
				phantom := b.arrived[0]
				phantom.Delivery = "dlv_phantom"
				b.arrived = append(b.arrived, phantom)
			},
			func(r *result) {
				r.Unknown, r.Broken = 1, []string{"1 requests came that are not recorded, as attempt 1 of dlv_phantom"}
			},
		},
		"something odd": {
			func(b *books, _ webhook.EventID, _ webhook.DeliveryID) { b.odd = []string{"oddity"} },
			func(r *result) { r.Broken = []string{"oddity"} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, event, delivery := openBooks(false)
			tc.change(&b, event, delivery)
			want := good
			want.Refused = map[string]int{}
			tc.want(&want)
			if diff := cmp.Diff(want, b.balance()); diff != "" {
				t.Errorf("balance (-want +got):\n%s", diff)
			}
		})
	}
}

// What was cut off in flight may come again, and nothing else, however many
// requests that would be.
func TestBooks_balanceOfRepeats(t *testing.T) {
	t.Parallel()
	const repeated, unrecorded = "came again", "not recorded"
	for name, tc := range map[string]struct {
		// requests are attempts of the delivery, in the order in which they came and were answered.
		requests []int
		excused  func(delivery string) excuses
		want     string
	}{
		"once":                                     {requests: []int{1}},
		"without an excuse":                        {requests: []int{1, 1}, want: repeated},
		"with its own excuse":                      {[]int{1, 1}, excuse1, ""},
		"twice, with one excuse":                   {[]int{1, 1, 1}, excuse1, repeated},
		"twice, cut off twice":                     {[]int{1, 1, 1}, func(d string) excuses { return append(excuse1(d), excuse1(d)...) }, ""},
		"with the excuse of another delivery":      {[]int{1, 1}, func(string) excuses { return excuse1("dlv_other") }, repeated},
		"with the excuse of another attempt":       {[]int{1, 1}, func(d string) excuses { return excuses{{try: try{d, 2}}} }, repeated},
		"a further attempt after a success":        {[]int{1, 2}, nil, repeated},
		"a further attempt, the worker had died":   {[]int{1, 2}, excuse1, repeated},
		"a further attempt, the answer was lost":   {[]int{1, 2}, answerLost, ""},
		"two further ones, one answer was lost":    {[]int{1, 2, 3}, answerLost, repeated},
		"the same attempt, the answer was lost":    {[]int{1, 1}, answerLost, repeated},
		"an attempt that is not recorded":          {[]int{4}, nil, unrecorded},
		"excused, but an attempt without a record": {[]int{1, 4}, answerLost, unrecorded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _, delivery := openBooks(false)
			b.recorded(delivery, 3, time.Millisecond)
			first := b.arrived[0]
			b.arrived = nil
			for i, attempt := range tc.requests {
				request := first
				request.Attempt, request.Nanos = attempt, first.Nanos+int64(i)
				b.arrived = append([]stage.Arrival{request}, b.arrived...) // it is their times that count
			}
			if tc.excused != nil {
				b.excused = tc.excused(delivery.String())
			}
			r := b.balance()
			if tc.want == "" && len(r.Broken) > 0 || tc.want != "" && (len(r.Broken) != 1 || !strings.Contains(r.Broken[0], tc.want)) {
				t.Errorf("broken: %q, want %q", r.Broken, tc.want)
			}
			if r.Duplicated != len(tc.requests)-1 || r.Excused != len(b.excused) {
				t.Errorf("duplicated %d of %d, want %d of %d", r.Duplicated, r.Excused, len(tc.requests)-1, len(b.excused))
			}
		})
	}
}

func excuse1(delivery string) excuses { return excuses{{try: try{delivery, 1}}} }

func answerLost(delivery string) excuses { return excuses{{try: try{delivery, 1}, failed: true}} }

func TestBooks_balanceOfWhatIsStored(t *testing.T) {
	t.Parallel()
	b, event, _ := openBooks(false)
	stray := webhook.DeliveryIDFor(event, webhook.NewWebhookID(b.struck, [10]byte{9}))
	b.stored.deliveries[stray] = storedDelivery{}
	if r := b.balance(); r.Strays != 1 || len(r.Broken) != 1 || !strings.Contains(r.Broken[0], "no event owes") {
		t.Errorf("a delivery that no event owes: %d, broken %q", r.Strays, r.Broken)
	}
	b, _, _ = openBooks(false)
	b.fault.strands = true
	if r := b.balance(); len(r.Broken) != 1 || !strings.Contains(r.Broken[0], "nothing was in flight") {
		t.Errorf("a fault that cut nothing off: broken %q", r.Broken)
	}
}

// What a receiver's refusal takes is not the fault's.
func TestBooks_balanceOfRetries(t *testing.T) {
	t.Parallel()
	b, _, delivery := openBooks(true)
	for took, want := range map[time.Duration]float64{retryTakes: 0, 10 * time.Second: (10*time.Second - retryTakes - time.Second).Seconds()} {
		b.recorded(delivery, 1, took)
		if got := b.balance().Recovery; got != want {
			t.Errorf("recorded after %s: recovery %.1f s, want %.1f s", took, got, want)
		}
	}
}

// A mutation of two events that was not answered with success, and was repeated.
func TestBooks_balanceOfRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		refusal    string
		storedThen int
		storedNow  int
		again      error
		want       []string
	}{
		"nothing was stored":     {unavailable, 0, 2, nil, nil},
		"all was stored":         {unavailable, 2, 2, nil, nil},
		"half was stored":        {unavailable, 1, 2, nil, []string{"half done"}},
		"stored twice":           {unavailable, 2, 4, nil, []string{"not stored exactly once"}},
		"refused again":          {unavailable, 0, 0, errors.New("no"), []string{"refused again"}},
		"refused without reason": {noAnswer, 0, 2, nil, []string{"answered " + noAnswer}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _, _ := openBooks(false)
			now := b.struck
			var events []storedEvent
			for i := range 4 {
				events = append(events, storedEvent{id: webhook.NewEventID(now, [10]byte{3, byte(i)}), tenant: "silent", tag: "m1"})
			}
			m := &mutation{tag: "m1", tenant: "silent", size: 2, keyed: true, sent: now, ended: now, refusal: tc.refusal, again: tc.again}
			if tc.again == nil {
				m.events = []webhook.EventID{events[0].id, events[1].id}
			}
			b.mutations = append(b.mutations, m)
			b.before = append(b.before[:1:1], events[:tc.storedThen]...)
			b.stored.events = append(b.stored.events[:1:1], events[:tc.storedNow]...)
			r := b.balance()
			if len(r.Broken) != len(tc.want) || len(tc.want) == 1 && !strings.Contains(r.Broken[0], tc.want[0]) {
				t.Errorf("broken: %q, want %q", r.Broken, tc.want)
			}
			if r.Refused[tc.refusal] != 1 || (r.Unanswered == 1) != (tc.storedThen == 2) {
				t.Errorf("refused %v, committed all the same %d", r.Refused, r.Unanswered)
			}
			if (verdict([]result{r}) == nil) != (len(tc.want) == 0) {
				t.Errorf("verdict %v", verdict([]result{r}))
			}
		})
	}
}

// The same without idempotency keys: the repetition is a mutation of its own, and
// both are owed what they stored.
func TestBooks_balanceOfRefusedWithoutKeys(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		storedThen, storedNow, repeated int
		want                            []string
	}{
		"nothing was stored":              {0, 0, 2, nil},
		"all was stored":                  {2, 2, 2, nil},
		"half was stored":                 {1, 1, 2, []string{"half done"}},
		"stored when nobody waited":       {0, 2, 2, []string{"stored otherwise later"}},
		"stored twice":                    {2, 4, 2, []string{"stored otherwise later"}},
		"stored twice while it was asked": {4, 4, 2, []string{"half done"}},
		"the repetition not stored":       {2, 2, 0, []string{"not stored exactly once"}},
		"the repetition stored twice":     {2, 2, 4, []string{"not stored exactly once"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, _, _ := openBooks(false)
			now := b.struck
			events := func(tag string, n int) (out []storedEvent) {
				for i := range n {
					out = append(out, storedEvent{id: webhook.NewEventID(now, [10]byte{tag[1], byte(i)}), tenant: "silent", tag: tag})
				}
				return out
			}
			answered := events("m2", 2)
			b.mutations = append(b.mutations,
				&mutation{tag: "m1", tenant: "silent", size: 2, sent: now, ended: now, refusal: unavailable},
				&mutation{tag: "m2", tenant: "silent", size: 2, repeats: true, events: []webhook.EventID{answered[0].id, answered[1].id}})
			b.before = append(b.before[:1:1], events("m1", tc.storedThen)...)
			b.stored.events = slices.Concat(b.stored.events[:1:1], events("m1", tc.storedNow), events("m2", tc.repeated))
			b.hooks["silent"] = []hook{{id: webhook.NewWebhookID(now, [10]byte{7})}}
			r := b.balance()
			var broken []string
			for _, promise := range r.Broken {
				if !strings.Contains(promise, "deliveries lost") { // none of theirs is in these books
					broken = append(broken, promise)
				}
			}
			if len(broken) != len(tc.want) || len(tc.want) == 1 && !strings.Contains(broken[0], tc.want[0]) {
				t.Errorf("broken: %q, want %q", broken, tc.want)
			}
			if owed := 1 + max(tc.repeated, 2) + tc.storedNow; r.Owed != owed || r.Accepted != 3 {
				t.Errorf("accepted %d, owed %d, want 3 and %d", r.Accepted, r.Owed, owed)
			}
		})
	}
}
