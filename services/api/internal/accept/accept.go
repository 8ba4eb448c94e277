// Package accept takes events in.
//
// It promises that an answered event is committed with every delivery it owes
// (I1), that a submission is stored whole or refused whole, and that Redis has
// no say in it: ringing comes after the commit, behind the caller's back.
//
// Submissions are group-committed: whatever arrived while the last commit ran
// goes into the next one, in one statement. A lone submission waits for nobody.
//
// A group locks the lanes of all its webhooks until it is committed, and their
// workers' records wait meanwhile. Many events in one submission are therefore no
// group's business: they are stored by themselves, in a way that locks lanes for
// an instant only, so that a tenant's burst delays neither the others' mutations
// nor their deliveries.
//
// What a commit costs is what it owes: 1,000 events for 100 webhooks take seconds.
// A submission beyond the bound of a group is stored one at a time, beside all
// others. What a type's events owe is known from the last one, or from PostgreSQL
// where it matters.
package accept

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Store commits submissions.
type Store interface {
	// Fanouts says how many of a tenant's webhooks want each of the types.
	Fanouts(ctx context.Context, tenant webhook.TenantID, types []webhook.EventType) (map[webhook.EventType]int, error)
	Accept(ctx context.Context, batch []webhook.Submission) ([]webhook.Receipt, []webhook.Owed, error)
	// AcceptLarge may take seconds, but nobody else waits for it meanwhile.
	AcceptLarge(ctx context.Context, submission webhook.Submission) (webhook.Receipt, []webhook.Owed, error)
}

// Doorbell rings for deliveries; it never blocks.
type Doorbell interface{ RingFirst(owed []webhook.Owed) }

// Config is what an Accepter needs; all fields are required.
type Config struct {
	Store    Store
	Doorbell Doorbell
	Registry prometheus.Registerer
	Now      func() time.Time
}

const (
	// maxGroup bounds the events of one group's commit. A submission of more than
	// maxTogether is in no group.
	maxGroup    = 500
	maxTogether = 250
	// maxGroupWeight bounds the deliveries that one commit is expected to owe, and
	// with them what a submission waits for its neighbours: about a fifth of a
	// second. A submission beyond it is large.
	maxGroupWeight = 5000
	// lanes is how many commits of a kind may run at once: while one waits for the
	// disk, another one is parsed.
	lanes = 2
	// commitTimeout bounds a commit when PostgreSQL does not answer at all.
	commitTimeout = 15 * time.Second
	// largeTimeout is below the time that a mutation may take.
	largeTimeout = 40 * time.Second
	// What waits for a commit is bounded; beyond that callers are told to come
	// back. Large ones wait by weight: more than this would not be stored before
	// their callers have given up. A tenant's part of it is eight calls of 1,000
	// events for 100 webhooks, so that eight parallel clients are never refused.
	maxWaiting     = 1024
	maxBulky       = 256
	bulkyPart      = maxBulky / 4
	largest        = 1000 * webhook.MaxWebhooksPerTenant
	maxLargeWeight = 16 * largest
	largePart      = 8 * largest
)

// errTooBusy answers a submission when too many wait.
var errTooBusy = errors.New("too many events are waiting to be stored")

// Accepter accepts events. Make one with New, and Run it.
type Accepter struct {
	cfg     Config
	waiting chan *request // for a group
	bulky   *turns        // of many events
	large   *turns        // that owe very much
	fanouts *fanouts
	group   prometheus.Histogram
	events  prometheus.Counter
}

// New registers metrics.
func New(cfg Config) *Accepter {
	a := &Accepter{
		cfg: cfg, waiting: make(chan *request, maxWaiting), fanouts: newFanouts(),
		bulky: newTurns(maxBulky, bulkyPart, func(*request) int { return 1 }),
		large: newTurns(maxLargeWeight, largePart, func(r *request) int { return r.weight }),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooks_accept_group_size", Help: "Submissions committed together.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_events_accepted_total", Help: "Events committed.",
		}),
	}
	cfg.Registry.MustRegister(a.group, a.events, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hooks_accept_waiting", Help: "Submissions that wait for a commit.",
	}, func() float64 { return float64(len(a.waiting) + a.bulky.len() + a.large.len()) }))
	return a
}

// request is a submission that waits for its commit.
type request struct {
	ctx        context.Context //nolint:containedctx // it tells a caller who is gone from one who waits
	submission webhook.Submission
	weight     int                  // deliveries it is expected to owe
	done       chan webhook.Receipt // buffered: the committer never waits for a caller
}

// Accept stores events and returns what became of them, in their order. Either
// all are committed or none is. Errors are for the caller: field paths start
// with the event's index when there are several.
//
// When ctx ends before the answer, the events may have been stored or not: an
// idempotency key makes trying again safe.
func (a *Accepter) Accept(ctx context.Context, events []webhook.NewEvent) ([]webhook.AcceptedEvent, error) {
	submission, err := a.submission(events)
	if err != nil {
		return nil, err
	}
	weight, err := a.weigh(ctx, submission)
	if err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, submission: submission, weight: weight, done: make(chan webhook.Receipt, 1)}
	if !a.enqueue(r) {
		return nil, webhook.Unavailable(errTooBusy)
	}
	select {
	case receipt := <-r.done:
		return receipt.Events, receipt.Err
	case <-ctx.Done():
		return nil, webhook.Unavailable(context.Cause(ctx))
	}
}

// weigh is how many deliveries a submission is expected to owe. What is not known
// makes it heavy; if that would make it large, PostgreSQL is asked.
func (a *Accepter) weigh(ctx context.Context, s webhook.Submission) (int, error) {
	weight, unknown := a.fanouts.weigh(s)
	if weight <= maxGroupWeight || len(unknown) == 0 {
		return weight, nil
	}
	tenant := s.Events[0].Event.Tenant
	counted, err := a.cfg.Store.Fanouts(ctx, tenant, unknown)
	if err != nil {
		return 0, err
	}
	a.fanouts.learnOf(tenant, unknown, counted)
	weight, _ = a.fanouts.weigh(s)
	return weight, nil
}

// enqueue reports false when too much is waiting.
func (a *Accepter) enqueue(r *request) bool {
	switch {
	case r.weight > maxGroupWeight:
		return a.large.put(r)
	case len(r.submission.Events) > maxTogether:
		return a.bulky.put(r)
	}
	select {
	case a.waiting <- r:
		return true
	default:
		return false
	}
}

func (a *Accepter) submission(events []webhook.NewEvent) (webhook.Submission, error) {
	now := a.cfg.Now()
	sub := webhook.Submission{Events: make([]webhook.SubmittedEvent, len(events))}
	keys := map[string]int{}
	var faults webhook.Errors
	for i, e := range events {
		if first, twice := keys[e.IdempotencyKey]; twice && e.IdempotencyKey != "" {
			faults = append(faults, webhook.Invalid("idempotencyKey", "must not be that of event "+strconv.Itoa(first)+" of the same call").
				Under(strconv.Itoa(i)))
			continue
		}
		keys[e.IdempotencyKey] = i
		id := newEventID(now)
		body, err := e.Body(id, now)
		if err != nil {
			return webhook.Submission{}, err
		}
		sub.Events[i] = webhook.SubmittedEvent{
			Event:          webhook.Event{ID: id, Tenant: e.Tenant, Type: e.Type, Body: body, TraceParent: e.TraceParent},
			IdempotencyKey: e.IdempotencyKey,
			Fingerprint:    e.Fingerprint(),
		}
	}
	if len(faults) > 0 {
		return webhook.Submission{}, faults
	}
	return sub, nil
}

func newEventID(now time.Time) webhook.EventID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails
	return webhook.NewEventID(now, random)
}

// Run commits until ctx ends, and then what has been submitted before.
func (a *Accepter) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for range lanes {
		wg.Go(func() { a.commitGroups(ctx) })
		wg.Go(func() { a.commitEach(ctx, a.bulky, commitTimeout) })
	}
	wg.Go(func() { a.commitEach(ctx, a.large, largeTimeout) })
	wg.Wait()
	return nil
}

func (a *Accepter) commitGroups(ctx context.Context) {
	var left *request // did not fit into the last group
	for {
		first := left
		if first == nil {
			first = next(ctx, a.waiting)
		}
		if first == nil {
			return
		}
		var group []*request
		group, left = a.gather(first)
		a.commit(context.WithoutCancel(ctx), group)
	}
}

func (a *Accepter) commitEach(ctx context.Context, queue *turns, timeout time.Duration) {
	for r := queue.next(ctx); r != nil; r = queue.next(ctx) {
		a.commitOne(context.WithoutCancel(ctx), r, timeout)
		queue.done(r)
	}
}

// next waits for a request; nil when ctx has ended and none is left.
func next(ctx context.Context, queue <-chan *request) *request {
	select {
	case r := <-queue:
		return r
	case <-ctx.Done():
	}
	select {
	case r := <-queue:
		return r
	default:
		return nil
	}
}

// gather takes what waits, up to the group's size. Two submissions with one
// idempotency key must not meet in a group: the second one has to see the
// first one committed.
func (a *Accepter) gather(first *request) (group []*request, left *request) {
	group, keys := []*request{first}, map[tenantKey]bool{}
	events, weight := len(first.submission.Events), first.weight
	first.addKeys(keys)
	for {
		select {
		case r := <-a.waiting:
			events += len(r.submission.Events)
			weight += r.weight
			if events > maxGroup || weight > maxGroupWeight || r.sharesKey(keys) {
				return group, r
			}
			r.addKeys(keys)
			group = append(group, r)
		default:
			return group, nil
		}
	}
}

type tenantKey struct {
	tenant webhook.TenantID
	key    string
}

// tenant is one: a call submits for its caller's.
func (r *request) tenant() webhook.TenantID { return r.submission.Events[0].Event.Tenant }

func (r *request) addKeys(keys map[tenantKey]bool) {
	for _, e := range r.submission.Events {
		if e.IdempotencyKey != "" {
			keys[tenantKey{e.Event.Tenant, e.IdempotencyKey}] = true
		}
	}
}

func (r *request) sharesKey(keys map[tenantKey]bool) bool {
	for _, e := range r.submission.Events {
		if e.IdempotencyKey != "" && keys[tenantKey{e.Event.Tenant, e.IdempotencyKey}] {
			return true
		}
	}
	return false
}

// commit stores a group, rings, and answers its callers.
func (a *Accepter) commit(ctx context.Context, group []*request) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	waiting := group[:0]
	for _, r := range group {
		if r.ctx.Err() == nil { // nobody waits for the others: do not store what will be called failed
			waiting = append(waiting, r)
		}
	}
	if len(waiting) == 0 {
		return
	}
	batch := make([]webhook.Submission, len(waiting))
	for i, r := range waiting {
		batch[i] = r.submission
	}
	receipts, owed, err := a.cfg.Store.Accept(ctx, batch)
	if err == nil {
		a.cfg.Doorbell.RingFirst(owed)
		a.group.Observe(float64(len(waiting)))
	}
	for i, r := range waiting {
		if err != nil {
			r.done <- webhook.Receipt{Err: err}
			continue
		}
		a.answer(r, receipts[i])
	}
}

// commitOne stores a submission by itself, rings, and answers its caller.
func (a *Accepter) commitOne(ctx context.Context, r *request, timeout time.Duration) {
	if r.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	receipt, owed, err := a.cfg.Store.AcceptLarge(ctx, r.submission)
	if err != nil {
		r.done <- webhook.Receipt{Err: err}
		return
	}
	a.cfg.Doorbell.RingFirst(owed)
	a.group.Observe(1)
	a.answer(r, receipt)
}

func (a *Accepter) answer(r *request, receipt webhook.Receipt) {
	if receipt.Err == nil {
		a.events.Add(float64(len(receipt.Events)))
		a.fanouts.learn(r.submission, receipt)
	}
	r.done <- receipt
}
