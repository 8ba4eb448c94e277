package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

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
