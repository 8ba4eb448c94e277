package deliver

import (
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// wait lets n deliveries of a tenant wait, each with a bell of its own.
func wait(s *shares, tenant webhook.TenantID, from, n int) (bells []chan result) {
	for i := range n {
		done := make(chan result, 1)
		s.add(&ticket{id: deliveryNumber(from + i), party: party{tenant: tenant}, done: done})
		bells = append(bells, done)
	}
	return bells
}

func deliveryNumber(n int) webhook.DeliveryID {
	at := time.Unix(1_700_000_000, 0)
	return webhook.DeliveryIDFor(webhook.NewEventID(at, [10]byte{byte(n >> 8), byte(n)}), webhook.NewWebhookID(at, [10]byte{}))
}

func count(tickets []*ticket) map[webhook.TenantID]int {
	by := map[webhook.TenantID]int{}
	for _, t := range tickets {
		by[t.party.tenant]++
	}
	return by
}

func TestI10_anybodyFindsASlotWhateverTheOthersHold(t *testing.T) {
	t.Parallel()
	s := newShares(256)
	for i, tenant := range []webhook.TenantID{"a", "b", "c", "d"} { // each hangs with all that it gets
		wait(&s, tenant, 1000*i, 1000)
		s.take(1000)
	}
	if s.held[party{tenant: "a"}] != 192 {
		t.Errorf("the first holds %d slots of 256, want three quarters", s.held[party{tenant: "a"}])
	}
	wait(&s, "healthy", 9000, 1)
	if got := count(s.take(10)); got["healthy"] != 1 || len(got) != 1 {
		t.Errorf("got %v, want one slot for the healthy one", got)
	}
}

func TestShares_goRoundTenantsAndKeepTheirOrder(t *testing.T) {
	t.Parallel()
	s := newShares(12)
	wait(&s, "a", 0, 100)
	wait(&s, "b", 200, 2)
	s.take(6)
	wait(&s, "c", 300, 1)
	got := s.take(100)
	if by := count(got); by["c"] != 1 || by["a"] == 0 {
		t.Errorf("the rest is %v, want one for c and the others for a", by)
	}
	last := -1
	for _, ticket := range got {
		if ticket.party.tenant != "a" {
			continue
		}
		n := 0
		for ticket.id != deliveryNumber(n) {
			n++
		}
		if n <= last {
			t.Errorf("delivery %d comes after %d", n, last)
		}
		last = n
	}
}

func TestShares_fewSlotsAreUsedToo(t *testing.T) {
	t.Parallel()
	for slots, want := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 8: 6} {
		s := newShares(slots)
		wait(&s, "a", 0, 10)
		if got := len(s.take(10)); got != want {
			t.Errorf("%d slots: one tenant gets %d, want %d", slots, got, want)
		}
	}
}

func TestShares_bellsOfThoseWithoutASlotAreAnswered(t *testing.T) {
	t.Parallel()
	s := newShares(4)
	bells := wait(&s, "a", 0, 5)
	taken := s.take(10)
	s.park()
	for i, bell := range bells {
		if answered := len(bell) == 1; answered != (i >= len(taken)) {
			t.Errorf("bell %d: answered is %t with %d slots", i, answered, len(taken))
		}
	}
	again := wait(&s, "a", 4, 1)
	if len(again[0]) != 1 || s.waiting() != 5-len(taken) {
		t.Errorf("a bell for what waits already is not answered, or makes it wait twice: %d wait", s.waiting())
	}
	for _, ticket := range taken {
		s.hold(ticket.party, -1)
	}
	if got := s.take(10); len(got) != 5-len(taken) || got[0].done != nil || got[0].own {
		t.Errorf("%d get a slot later, want %d that no bell waits for", len(got), 5-len(taken))
	}
	if len(s.parked) != 0 || s.waiting() != 0 {
		t.Error("something is left")
	}
}

func TestShares_whatWaitsIsBounded(t *testing.T) {
	t.Parallel()
	s := newShares(4)
	wait(&s, "a", 0, maxPatient+500)
	s.take(1) // room is there again, for one
	wait(&s, "a", 3000, 500)
	s.take(100)
	wait(&s, "a", 4000, 500)
	if n := s.waiting(); n > maxPatient+1000 {
		t.Errorf("%d wait, want about %d", n, maxPatient)
	}
	before := s.waiting()
	wait(&s, "a", 5000, 500)
	if s.waiting() != before {
		t.Errorf("%d more wait beyond the bound", s.waiting()-before)
	}
}

func TestShares_reserveLeavesOthersTheirs(t *testing.T) {
	t.Parallel()
	s := newShares(16)
	a := party{tenant: "a"}
	reserved, more := s.reserve(perTenant{"a": 100})
	if reserved.sum() != 12 || more > 1 {
		t.Errorf("one alone reserves %d of 16, want 12, and could have %d more", reserved.sum(), more)
	}
	if twice, _ := s.reserve(perTenant{"a": 100}); twice.sum() != 0 {
		t.Errorf("at the same time it reserves %d more", twice.sum())
	}
	s.restore(reserved)
	s.hold(a, 12)
	if reserved, _ := s.reserve(perTenant{"a": 5}); reserved.sum() != 0 {
		t.Errorf("one with all that it may have reserves %d more", reserved.sum())
	}
	wait(&s, "a", 0, 50) // they may not have slots, and keep none from others
	reserved, _ = s.reserve(perTenant{"a": 5, "b": 2})
	if reserved["a"] != 0 || reserved["b"] != 2 {
		t.Errorf("beside the other one it reserves %v, want 2 for the other one", reserved)
	}
	s.restore(reserved)
	wait(&s, "c", 100, 3)
	if reserved, _ := s.reserve(perTenant{"b": 4}); reserved.sum() > 1 {
		t.Errorf("%d are reserved although three wait for four", reserved.sum())
	}
}

func TestShares_reserveTellsWhatIsLeft(t *testing.T) {
	t.Parallel()
	s := newShares(16)
	if reserved, more := s.reserve(perTenant{"a": 2}); reserved.sum() != 2 || more < 8 || more > 12 {
		t.Errorf("of 16 it reserves %d and could have %d more, want 2 and about 10", reserved.sum(), more)
	}
	for i, tenant := range []webhook.TenantID{"b", "c", "d"} {
		wait(&s, tenant, 100*i, 50)
	}
	if _, more := s.reserve(perTenant{"a": 2}); more != 0 {
		t.Errorf("%d more although others wait for what is left", more)
	}
}
