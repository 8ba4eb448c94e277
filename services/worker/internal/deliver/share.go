package deliver

import "github.com/crm-webhooks/crm-webhooks/pkg/webhook"

const (
	// greed bounds a party by what it leaves: it may take another slot while it
	// holds less than greed times as many as are free. One party alone gets three
	// quarters of all, two get three sevenths each, and so on: there is always one
	// left for whoever comes next, even when all the others hang.
	greed = 3
	// maxPatient bounds the deliveries of one party that wait for its slots, and
	// maxParked those of all that wait without a bell. A tenant is not rung for
	// more than its windows together, unless by bells that come twice.
	maxPatient = 2_000
	maxParked  = 20_000
)

// party is who gets a share of the slots: a tenant. Its test sends are a party of
// their own, as somebody watches them.
type party struct {
	tenant webhook.TenantID
	test   bool
}

func partyOf(o webhook.Owed) party { return party{o.Tenant, o.Kind == webhook.KindTest} }

// shares hands slots to waiting tickets, to one party after the other. It is
// guarded by its owner's lock.
type shares struct {
	free int
	held map[party]int
	// queues are never empty; turns are their keys, in the order in which they
	// get the next slots.
	queues map[party][]*ticket
	turns  []party
	// fresh tickets have come since it was last looked who gets no slot; parked
	// ones go on waiting although their bells have been answered.
	fresh  []*ticket
	parked map[webhook.DeliveryID]*ticket
}

func newShares(slots int) shares {
	return shares{
		free: slots, held: map[party]int{}, queues: map[party][]*ticket{}, parked: map[webhook.DeliveryID]*ticket{},
	}
}

func (s *shares) mayTake(p party) bool { return s.held[p] < greed*s.free }

// room is how many slots a party may take of so many free ones, one after the
// other.
func (s *shares) room(p party, free int) int {
	return (max(greed*free-s.held[p], 0) + greed) / (greed + 1)
}

// add lets a ticket wait. One that waits already, or for which there is no room,
// is done: in the latter case the relay comes back to it.
func (s *shares) add(t *ticket) {
	if twin := s.parked[t.id]; twin != nil {
		twin.due = twin.due || t.due
		t.answer(result{})
		return
	}
	q := s.queues[t.party]
	if len(q) >= maxPatient && !s.mayTake(t.party) {
		t.answer(result{})
		return
	}
	if len(q) == 0 {
		s.turns = append(s.turns, t.party)
	}
	s.queues[t.party] = append(q, t)
	s.fresh = append(s.fresh, t)
}

// take hands out up to limit tickets with a slot each.
func (s *shares) take(limit int) []*ticket {
	var batch []*ticket
	for refused := 0; refused < len(s.turns) && len(batch) < limit; {
		p := s.turns[0]
		s.turns = s.turns[1:]
		if !s.mayTake(p) {
			s.turns = append(s.turns, p)
			refused++
			continue
		}
		refused = 0
		q := s.queues[p]
		t := q[0]
		q[0] = nil
		if s.queues[p] = q[1:]; len(q) > 1 {
			s.turns = append(s.turns, p)
		} else {
			delete(s.queues, p)
		}
		delete(s.parked, t.id)
		t.taken = true
		s.hold(p, 1)
		batch = append(batch, t)
	}
	return batch
}

// park answers the bells of those for whom take had no slot: they may have to
// wait for long, and a bell at work keeps others of its queue from being heard.
func (s *shares) park() {
	for _, t := range s.fresh {
		if t.taken || len(s.parked) >= maxParked {
			continue
		}
		s.parked[t.id] = t
		t.answer(result{})
		t.done, t.own = nil, false
	}
	s.fresh = nil
}

// empty forgets all who wait.
func (s *shares) empty() (waiting []*ticket) {
	for _, q := range s.queues {
		waiting = append(waiting, q...)
	}
	clear(s.queues)
	clear(s.parked)
	s.turns, s.fresh = nil, nil
	return waiting
}

func (s *shares) waiting() (n int) {
	for _, q := range s.queues {
		n += len(q)
	}
	return n
}

func (s *shares) hold(p party, n int) {
	s.free -= n
	if s.held[p] += n; s.held[p] <= 0 {
		delete(s.held, p)
	}
}

// reserve takes slots for parties that want to go on with their next deliveries.
// Whose they are shows later. It also returns how many more they could have.
func (s *shares) reserve(wants map[party]int) (n, more int) {
	all := make(map[party]int, len(wants))
	for p := range wants {
		all[p] = s.free
	}
	n = s.spare(wants)
	more = s.spare(all) - n
	s.free -= n
	return n, more
}

// spare is how many slots parties may have for their next deliveries: as many as
// their shares allow and no waiting ticket could have.
func (s *shares) spare(wants map[party]int) (n int) {
	spare := s.free
	for p, q := range s.queues {
		spare -= min(len(q), s.room(p, s.free))
	}
	for p, want := range wants {
		n += max(min(want, s.room(p, s.free-n)-len(s.queues[p]), spare-n), 0)
	}
	return n
}
