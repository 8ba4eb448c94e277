package tasks

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestRinger_ownBellRungTwiceRingsOnce(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	own := Bell{Queue: "deliver-0", Deliveries: deliveries(1), Attempt: 1, Own: true}
	next, shared := own, own
	next.Attempt, shared.Own = 2, false
	ring(t, c, own, own)
	ring(t, c, own, next, shared, shared)
	if n := c.LLen(t.Context(), own.Queue.key("pending")).Val(); n != 4 {
		t.Errorf("%d pending, want 4: own, next and twice shared", n)
	}
	ids := c.LRange(t.Context(), own.Queue.key("pending"), -2, -1).Val()
	want := deliveries(1)[0].String()
	if len(ids) != 2 || ids[1] != want+":1" || ids[0] != want+":2" {
		t.Errorf("task ids %q", ids)
	}
}

func TestRinger_thousandsOfBells(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	h, heard := collect()
	const n = 2500
	bells := make([]Bell, n)
	for i, id := range deliveries(n) {
		bells[i] = Bell{Queue: AllQueues()[i%Shards], Tenant: "acme", EventType: "lead.created", Deliveries: []webhook.DeliveryID{id}, Attempt: 1}
	}
	start := time.Now()
	ring(t, c, bells...)
	t.Logf("rang %d bells in %s", n, time.Since(start))
	if known := c.SCard(t.Context(), queuesKey).Val(); known != Shards {
		t.Errorf("asynq knows %d queues, want %d", known, Shards)
	}
	serve(t, c, h)
	seen := make(map[webhook.DeliveryID]bool)
	for range n {
		seen[receive(t, "bell", heard).Deliveries[0]] = true
	}
	if len(seen) != n {
		t.Errorf("heard of %d deliveries, want %d", len(seen), n)
	}
}

func TestRinger_serverWithoutTheScript(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	for range 3 {
		if err := c.ScriptFlush(t.Context()).Err(); err != nil { // as after a restart
			t.Fatal(err)
		}
		ring(t, c, Bell{Queue: Bulk, Deliveries: deliveries(1)}, Bell{Queue: Test, Deliveries: deliveries(1)})
	}
	if a, b := c.LLen(t.Context(), Bulk.key("pending")).Val(), c.LLen(t.Context(), Test.key("pending")).Val(); a != 3 || b != 3 {
		t.Errorf("%d and %d pending, want 3 and 3", a, b)
	}
}

func TestRinger_redisAway(t *testing.T) {
	t.Parallel()
	_, raw := connect(t)
	_, through := newGate(t, raw)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := NewRinger(connectTo(t, through)).Ring(ctx, []Bell{{Queue: Bulk, Deliveries: deliveries(1)}}); err == nil {
		t.Error("rang a Redis that is away")
	}
}

func TestRinger_refusesABellThatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	r := NewRinger(nil)
	for name, b := range map[string]Bell{
		"no queue":      {Deliveries: deliveries(1)},
		"no deliveries": {Queue: Bulk},
		"too many":      {Queue: Bulk, Deliveries: deliveries(MaxBellSize + 1)},
		"own for two":   {Queue: Bulk, Deliveries: deliveries(2), Own: true},
	} {
		if err := r.Ring(t.Context(), []Bell{b}); err == nil {
			t.Errorf("%s: rang", name)
		}
	}
	if err := r.Ring(t.Context(), nil); err != nil {
		t.Errorf("ringing nothing: %v", err)
	}
}

func TestPing(t *testing.T) {
	t.Parallel()
	c, raw := connect(t)
	if err := Ping(t.Context(), c); err != nil {
		t.Error(err)
	}
	_, through := newGate(t, raw)
	if err := Ping(t.Context(), connectTo(t, through)); err == nil {
		t.Error("pinged through a shut gate")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Ping(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("with a canceled context: %v", err)
	}
}
