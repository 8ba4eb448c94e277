package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
)

const (
	// maxInFlight bounds mutations that wait for an answer; beyond it clients
	// hold back, as real ones would.
	maxInFlight = 256
	eventType   = "chaos.event"
	// Every batchEvery-th mutation brings batchSize events, the others one.
	batchEvery, batchSize = 5, 5
	eventsPerMutation     = float64(batchEvery-1+batchSize) / batchEvery
	// askAgainWidth is how many mutations are repeated at a time.
	askAgainWidth = 16
)

// mutation is one dispatchEvent, or one dispatchEvents, and what was answered.
type mutation struct {
	// tag is in every event's objectId: by it they are found in PostgreSQL.
	tag    string
	tenant webhook.TenantID
	size   int // events
	// keyed ones carry idempotency keys. Asking again for one without makes events
	// of their own: that is another mutation, which repeats.
	keyed, repeats bool

	sent  time.Time
	ended time.Time
	// events are those accepted, by the first answer or by the second one.
	events []webhook.EventID
	// refusal is the kind of the first answer, when it was no success.
	refusal string
	// again is why a repetition failed, when everything was well again.
	again error
}

// journal is all that was asked for.
type journal struct {
	mu  sync.Mutex
	all []*mutation
}

// add gives a mutation its tag.
func (j *journal) add(m mutation) *mutation {
	j.mu.Lock()
	defer j.mu.Unlock()
	m.tag = "m" + strconv.Itoa(len(j.all))
	j.all = append(j.all, &m)
	return &m
}

// begin is a new mutation for an api. The first one's clients use idempotency keys,
// the others' do not: in a group, one mutation with a key would take the others
// along on its way into PostgreSQL.
func (s *scene) begin(tenant webhook.TenantID, api, size int) *mutation {
	return s.journal.add(mutation{tenant: tenant, size: size, keyed: api == 0})
}

// startLoad has events sent until endLoad, which may be called more than once.
func (s *scene) startLoad(ctx context.Context) {
	enough, answered := make(chan struct{}), make(chan struct{})
	go func() { // waited for by endLoad
		defer close(answered)
		s.dispatch(ctx, enough)
	}()
	s.endLoad = sync.OnceFunc(func() {
		close(enough)
		<-answered
	})
}

// dispatch sends events at the rate until it is told to stop, and returns when
// all are answered.
func (s *scene) dispatch(ctx context.Context, enough <-chan struct{}) {
	var (
		random = s.chance
		calls  sync.WaitGroup
		slots  = make(chan struct{}, maxInFlight)
		gap    = int64(eventsPerMutation * float64(time.Second) / float64(s.rate))
		next   = time.NewTimer(0)
	)
	defer calls.Wait()
	defer next.Stop()
	for n, at := 1, time.Now(); ; n++ {
		tenant, api, size := s.tenants[random.IntN(tenants)], random.IntN(apis), 1
		if n%batchEvery == 0 {
			size = batchSize
		}
		at = at.Add(time.Duration(gap/2 + random.Int64N(gap)))
		select {
		case slots <- struct{}{}:
		case <-enough:
			return
		}
		m := s.begin(tenant, api, size)
		calls.Go(func() {
			defer func() { <-slots }()
			s.mutate(ctx, s.clients[tenant][api], m)
		})
		next.Reset(time.Until(at))
		select {
		case <-next.C:
		case <-enough:
			return
		case <-ctx.Done():
			return
		}
	}
}

// mutate asks once, and writes down what was answered.
func (s *scene) mutate(ctx context.Context, client *apiclient.Client, m *mutation) {
	m.sent = time.Now()
	events, err := m.ask(ctx, client)
	m.ended, m.events = time.Now(), events
	if err != nil {
		m.refusal = kindOf(err)
	}
}

// ask has the events accepted. With idempotency keys it is safe to ask again.
func (m *mutation) ask(ctx context.Context, client *apiclient.Client) ([]webhook.EventID, error) {
	events := make([]apiclient.Event, m.size)
	for i := range events {
		name := m.tag + "/" + strconv.Itoa(i)
		events[i] = apiclient.Event{
			CustomEvent: eventType, ObjectID: name, Object: json.RawMessage(`{"n":` + strconv.Itoa(i) + `}`),
		}
		if m.keyed {
			events[i].IdempotencyKey = name
		}
	}
	texts := []string{""}
	var err error
	if m.size == 1 {
		var accepted apiclient.Accepted
		accepted, err = client.Dispatch(ctx, events[0])
		texts[0] = accepted.EventID
	} else {
		texts, _, err = client.DispatchAll(ctx, events)
	}
	if err != nil {
		return nil, err
	}
	ids := make([]webhook.EventID, len(texts))
	for i, text := range texts {
		if ids[i], err = webhook.ParseEventID(text); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// askAgain does what clients do whose mutations were not answered with success:
// they ask again, when everything is well again.
func (s *scene) askAgain(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(askAgainWidth)
	for i, m := range slices.Clone(s.journal.all) {
		if m.refusal == "" {
			continue
		}
		if !m.keyed {
			m = s.journal.add(mutation{tenant: m.tenant, size: m.size, repeats: true})
		}
		client := s.clients[m.tenant][i%apis]
		g.Go(func() error {
			m.events, m.again = m.ask(ctx, client)
			return nil
		})
	}
	_ = g.Wait() // each mutation knows its own error
}

// kindOf is the code of an API's refusal, or says that there was no answer.
func kindOf(err error) string {
	code, _, _ := strings.Cut(err.Error(), ":")
	switch {
	case code != "" && strings.ToUpper(code) == code:
		return code
	case strings.Contains(err.Error(), "no GraphQL API"):
		return fmt.Sprintf("nonsense (%s)", err)
	default:
		return noAnswer
	}
}
