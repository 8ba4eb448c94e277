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
	// placesPerSlot bounds the claims that are not settled. Mostly fewer outcomes wait
	// for a commit than there are slots. While PostgreSQL lets claim and not record,
	// only windows would bound them, and each keeps what its receiver answered, up to
	// 32 KiB.
	placesPerSlot = 8
)

// party is who gets a share of the slots: a tenant. Its test sends are a party of
// their own, as somebody watches them.
type party struct {
	tenant webhook.TenantID
	test   bool
}

func partyOf(o webhook.Owed) party { return party{o.Tenant, o.Kind == webhook.KindTest} }

// pool is a number of things that parties share.
type pool struct {
	free int
	held map[party]int
}

func newPool(n int) pool { return pool{free: n, held: map[party]int{}} }

func (l *pool) allows(p party) bool { return l.held[p] < greed*l.free }

// room is how many a party may take of so many free ones, one after the other.
func (l *pool) room(p party, free int) int {
	return (max(greed*free-l.held[p], 0) + greed) / (greed + 1)
}

func (l *pool) hold(p party, n int) {
	l.free -= n
	if l.held[p] += n; l.held[p] <= 0 {
		delete(l.held, p)
	}
}

// shares hands slots to waiting tickets, to one party after the other. It is
// guarded by its owner's lock.
type shares struct {
	pool // of slots
	// places are for what is claimed until it is settled; a slot is given back before.
	places pool
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
		pool: newPool(slots), places: newPool(placesPerSlot * slots),
		queues: map[party][]*ticket{}, parked: map[webhook.DeliveryID]*ticket{},
	}
}

func (s *shares) mayTake(p party) bool { return s.allows(p) && s.places.allows(p) }

// room is how many slots a party may take of so many free ones.
func (s *shares) room(p party, free int) int {
	return min(s.pool.room(p, free), s.places.room(p, s.places.free))
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
		s.claim(p, 1)
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

// claim takes n slots, and places for what is claimed.
func (s *shares) claim(p party, n int) {
	s.hold(p, n)
	s.places.hold(p, n)
}

// perTenant is how many slots tenants want, or have.
type perTenant map[webhook.TenantID]int

func (t perTenant) sum() (n int) {
	for _, of := range t {
		n += of
	}
	return n
}

// reserve takes slots for tenants that want to go on with their next deliveries. Two
// who reserve at once get no more for a tenant than one. It also returns how many
// more they could have.
func (s *shares) reserve(wants perTenant) (reserved perTenant, more int) {
	all := make(perTenant, len(wants))
	for tenant := range wants {
		all[tenant] = s.free
	}
	reserved = s.spare(wants)
	more = s.spare(all).sum() - reserved.sum()
	for tenant, n := range reserved {
		s.hold(party{tenant: tenant}, n)
	}
	return reserved, more
}

// restore gives back what reserve took.
func (s *shares) restore(reserved perTenant) {
	for tenant, n := range reserved {
		s.hold(party{tenant: tenant}, -n)
	}
}

// spare is how many slots tenants may have for their next deliveries: as many as
// their shares allow and no waiting ticket could have.
func (s *shares) spare(wants perTenant) perTenant {
	spare := s.free
	for p, q := range s.queues {
		spare -= min(len(q), s.room(p, s.free))
	}
	n, each := 0, make(perTenant, len(wants))
	for tenant, want := range wants {
		p := party{tenant: tenant}
		if of := min(want, s.room(p, s.free-n)-len(s.queues[p]), spare-n); of > 0 {
			each[tenant] = of
			n += of
		}
	}
	return each
}
