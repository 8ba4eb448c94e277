package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const tenant = webhook.TenantID("acme")

// openBooks are of one webhook and one event, accepted a second before the
// fault and delivered at once.
func openBooks() (books, webhook.EventID, webhook.DeliveryID) {
	struck := time.UnixMilli(1_800_000_000_000)
	accepted := struck.Add(-time.Second)
	event := webhook.NewEventID(accepted, [10]byte{1})
	hook := webhook.NewWebhookID(accepted, [10]byte{2})
	delivery := webhook.DeliveryIDFor(event, hook)
	return books{
		fault: fault{name: "f"}, struck: struck,
		mutations: []mutation{{tenant: tenant, ended: accepted, event: event}},
		stored: ledger{
			events:    map[webhook.EventID]webhook.TenantID{event: tenant},
			succeeded: map[webhook.DeliveryID]time.Time{delivery: accepted.Add(time.Millisecond)},
		},
		arrived: []stage.Arrival{{Delivery: delivery.String(), Answered: true}},
		hooks:   map[webhook.TenantID][]webhook.WebhookID{tenant: {hook}},
	}, event, delivery
}

func TestBooks_balance(t *testing.T) {
	t.Parallel()
	good := result{Fault: "f", Refused: map[string]int{}, Accepted: 1, Owed: 1, Delivered: 1}
	for name, tc := range map[string]struct {
		change func(*books, webhook.EventID, webhook.DeliveryID)
		want   func(*result)
	}{
		"all is well": {func(*books, webhook.EventID, webhook.DeliveryID) {}, func(*result) {}},
		"accepted, but not stored": {
			func(b *books, e webhook.EventID, d webhook.DeliveryID) {
				delete(b.stored.events, e)
				delete(b.stored.succeeded, d)
				b.arrived = nil
			},
			func(r *result) { r.Delivered, r.Lost = 0, 1 },
		},
		"stored as success, but it never came": {
			func(b *books, _ webhook.EventID, _ webhook.DeliveryID) { b.arrived = nil },
			func(r *result) { r.Delivered, r.Lost = 0, 1 },
		},
		"it came, but was not answered": {
			func(b *books, _ webhook.EventID, _ webhook.DeliveryID) { b.arrived[0].Answered = false },
			func(r *result) { r.Delivered, r.Lost = 0, 1 },
		},
		"it came, but is not recorded": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) { delete(b.stored.succeeded, d) },
			func(r *result) { r.Delivered, r.Lost = 0, 1 },
		},
		"it came twice": {
			func(b *books, _ webhook.EventID, _ webhook.DeliveryID) { b.arrived = append(b.arrived, b.arrived[0]) },
			func(r *result) { r.Duplicated = 1 },
		},
		"refused, but committed": {
			func(b *books, _ webhook.EventID, _ webhook.DeliveryID) {
				b.mutations[0].refusal, b.mutations[0].event = "UNAVAILABLE", webhook.EventID{}
			},
			func(r *result) { r.Accepted, r.Unanswered, r.Refused = 0, 1, map[string]int{"UNAVAILABLE": 1} },
		},
		"refused for two seconds": {
			func(b *books, _ webhook.EventID, _ webhook.DeliveryID) {
				b.mutations = append(b.mutations, mutation{refusal: "no answer", ended: b.struck.Add(2 * time.Second)})
			},
			func(r *result) { r.Refused, r.Recovery = map[string]int{"no answer": 1}, 2 },
		},
		"recorded late": {
			func(b *books, _ webhook.EventID, d webhook.DeliveryID) {
				b.stored.succeeded[d] = b.struck.Add(3 * time.Second)
			},
			func(r *result) { r.Recovery = 3 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, event, delivery := openBooks()
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

func TestVerdict(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		r  result
		ok bool
	}{
		"nothing lost":       {result{}, true},
		"one lost":           {result{Lost: 1}, false},
		"excused duplicates": {result{Duplicated: 3, MostDuplicated: 3}, true},
		"one too many":       {result{Duplicated: 4, MostDuplicated: 3}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := verdict([]result{tc.r}) == nil; got != tc.ok || tc.r.ok() != tc.ok {
				t.Errorf("verdict passes: %t, ok: %t, want %t", got, tc.r.ok(), tc.ok)
			}
		})
	}
}

func TestParseOptions(t *testing.T) {
	t.Parallel()
	o, err := parseOptions([]string{"--rows", "redis-flush, none"})
	if err != nil || len(o.faults) != 2 || o.faults[0].name != "redis-flush" || o.seed == 0 {
		t.Errorf("got %+v, error %v", o, err)
	}
	for _, args := range [][]string{{"--rows", "flood"}, {"stray"}, {"--rate", "0"}, {"--load", "1ms"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
