package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
)

const (
	// maxInFlight bounds mutations that wait for an answer; beyond it clients
	// hold back, as real ones would.
	maxInFlight = 256
	eventType   = "chaos.event"
)

// mutation is one dispatchEvent and what was answered.
type mutation struct {
	tenant webhook.TenantID
	sent   time.Time
	ended  time.Time
	// event is zero when the event was not accepted.
	event webhook.EventID
	// refusal is the kind of answer that was no success.
	refusal string
}

func (m mutation) accepted() bool { return m.refusal == "" }

// dispatch sends events at the rate until the load's time is over, and returns
// when all are answered. Nothing is sent twice: what is not answered with success
// is not accepted.
func (s *scene) dispatch(ctx context.Context, random *rand.Rand) []mutation {
	ctx, cancel := context.WithTimeout(ctx, s.load+drainTimeout)
	defer cancel()
	var (
		mu    sync.Mutex
		all   []mutation
		calls sync.WaitGroup
		slots = make(chan struct{}, maxInFlight)
		gap   = time.Second / time.Duration(s.rate)
	)
	for n, next, end := 0, time.Now(), time.Now().Add(s.load); next.Before(end); n++ {
		tenant, api := s.tenants[random.IntN(tenants)], random.IntN(apis)
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			m := s.mutate(ctx, tenant, s.clients[tenant][api], n)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, m)
		})
		next = next.Add(gap/2 + time.Duration(random.Int64N(int64(gap))))
		if wait(ctx, time.Until(next)) != nil {
			break
		}
	}
	calls.Wait()
	return all
}

func (s *scene) mutate(ctx context.Context, tenant webhook.TenantID, client *apiclient.Client, n int) mutation {
	m := mutation{tenant: tenant, sent: time.Now()}
	accepted, err := client.Dispatch(ctx, apiclient.Event{
		CustomEvent: eventType, ObjectID: strconv.Itoa(n), Object: json.RawMessage(`{"n":` + strconv.Itoa(n) + `}`),
	})
	m.ended = time.Now()
	if err == nil {
		m.event, err = webhook.ParseEventID(accepted.EventID)
	}
	if err != nil {
		m.refusal = kindOf(err)
	}
	return m
}

// kindOf is the code of an API's refusal, or says that there was no answer.
func kindOf(err error) string {
	code, _, _ := strings.Cut(err.Error(), ":")
	if code != "" && strings.ToUpper(code) == code {
		return code
	}
	return "no answer"
}
