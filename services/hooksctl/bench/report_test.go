package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewQuantiles(t *testing.T) {
	t.Parallel()
	var times []time.Duration
	for n := 200; n > 0; n-- {
		times = append(times, time.Duration(n)*time.Millisecond)
	}
	if diff := cmp.Diff(quantiles{P50: 100, P99: 198, Max: 200}, newQuantiles(times)); diff != "" {
		t.Errorf("quantiles (-want +got):\n%s", diff)
	}
}

func TestReport_ratioIsTakenRoundByRound(t *testing.T) {
	t.Parallel()
	r := report{Rounds: []round{ // the machine was three times as fast in the second round
		{Asynq: rate{PerSecond: 1000, CPU: 0.4}, Recorded: rate{PerSecond: 2000, CPU: 0.2}},
		{Asynq: rate{PerSecond: 3000, CPU: 0.4}, Recorded: rate{PerSecond: 6000, CPU: 0.2}},
		{Asynq: rate{PerSecond: 1000, CPU: 0.4}, Recorded: rate{PerSecond: 1000, CPU: 0.2}},
	}}
	var out strings.Builder
	if err := r.print(&out); err != nil {
		t.Fatal(err)
	}
	if want := "2.00 x (1.00-2.00)"; !strings.Contains(out.String(), want) {
		t.Errorf("table lacks %q:\n%s", want, out.String())
	}
	if err := r.missed(); err != nil {
		t.Error(err)
	}
	for i := range r.Rounds {
		r.Rounds[i].Recorded.PerSecond = r.Rounds[i].Asynq.PerSecond
	}
	if err := r.missed(); err == nil {
		t.Error("a missed target is no error")
	}
}

func TestEvent_hasTheSizeThatIsPromised(t *testing.T) {
	t.Parallel()
	e, err := event(7)
	if err != nil {
		t.Fatal(err)
	}
	body, err := e.Body(webhook.EventID{}, time.Now())
	if err != nil || len(body) != bodyBytes {
		t.Errorf("body has %d bytes, want %d; error %v", len(body), bodyBytes, err)
	}
}

func TestWaits_countsWhatDidNotComeUntilNow(t *testing.T) {
	t.Parallel()
	answered := time.Unix(1000, 0)
	id := func(n byte) webhook.DeliveryID {
		return webhook.DeliveryIDFor(webhook.NewEventID(answered, [10]byte{n}), webhook.WebhookID{})
	}
	came, missing := id(1), id(2)
	sent := []dispatched{{delivery: came, answered: answered}, {delivery: missing, answered: answered}}
	arrivals := []stage.Arrival{ // the second request for a delivery is no news
		{Delivery: came.String(), Nanos: answered.Add(9 * time.Second).UnixNano()},
		{Delivery: came.String(), Nanos: answered.Add(time.Second).UnixNano()},
	}
	delivery, _, n := waits(sent, arrivals, answered.Add(time.Minute))
	if diff := cmp.Diff([]time.Duration{time.Second, time.Minute}, delivery); diff != "" || n != 1 {
		t.Errorf("%d missing, want 1; waits (-want +got):\n%s", n, diff)
	}
}
