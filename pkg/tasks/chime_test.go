package tasks

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
)

// emptyUntil answers redis.Nil for the first n scripts.
type emptyUntil struct {
	redis.UniversalClient

	n     int
	calls int
	shuts *Gate // with the first script
}

func (e *emptyUntil) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	e.calls++
	if e.shuts != nil {
		e.shuts.Shut()
	}
	c := redis.NewCmd(ctx)
	if e.calls <= e.n {
		c.SetErr(redis.Nil)
	} else {
		c.SetVal("task")
	}
	return c
}

func TestParkingClient(t *testing.T) {
	t.Parallel()
	dequeue := []string{Bulk.key("pending"), Bulk.key("paused"), Bulk.key("active"), Bulk.key("lease")}
	for name, tc := range map[string]struct {
		keys      []string
		emptyFor  int
		wakes     int
		stopped   bool
		shut      bool
		shuts     bool // while it waits
		patience  time.Duration
		wantCalls int
		wantTask  bool
	}{
		"a full queue does not wait":         {keys: dequeue, patience: time.Hour, wantCalls: 1, wantTask: true},
		"another script does not wait":       {keys: dequeue[:2], emptyFor: 1, patience: time.Hour, wantCalls: 1},
		"the chime makes it look again":      {keys: dequeue, emptyFor: 1, wakes: 1, patience: time.Hour, wantCalls: 2, wantTask: true},
		"another worker was quicker":         {keys: dequeue, emptyFor: 2, wakes: 2, patience: time.Hour, wantCalls: 3, wantTask: true},
		"silence ends with its patience":     {keys: dequeue, emptyFor: 1, patience: time.Millisecond, wantCalls: 1},
		"the end of the server ends waiting": {keys: dequeue, emptyFor: 1, stopped: true, patience: time.Hour, wantCalls: 1},
		"nothing is fetched behind a gate":   {keys: dequeue, shut: true, wakes: 1, patience: time.Millisecond},
		"the chime wakes nobody behind it":   {keys: dequeue, emptyFor: 1, wakes: 1, shuts: true, patience: time.Hour, wantCalls: 1},
		"other scripts know no gate":         {keys: dequeue[:2], shut: true, patience: time.Hour, wantCalls: 1, wantTask: true},
		"the end of the server ends that":    {keys: dequeue, shut: true, stopped: true, patience: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := &emptyUntil{n: tc.emptyFor}
			wake, stop := make(chan struct{}, tc.wakes), make(chan struct{})
			for range tc.wakes {
				wake <- struct{}{}
			}
			if tc.stopped {
				close(stop)
			}
			gate := NewGate()
			if tc.shut {
				gate.Shut()
			}
			if tc.shuts {
				inner.shuts = gate
			}
			c := &parkingClient{UniversalClient: inner, gate: gate, wake: wake, stop: stop, patience: tc.patience}
			reply := c.EvalSha(t.Context(), "", tc.keys)
			if inner.calls != tc.wantCalls || (reply.Err() == nil) != tc.wantTask {
				t.Errorf("%d calls, reply %v; want %d, a task: %t", inner.calls, reply, tc.wantCalls, tc.wantTask)
			}
		})
	}
}

func TestGate_whatIsLeftInRedisIsHeardWhenItOpens(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	h, heard := collect()
	gate := NewGate()
	gate.Shut()
	serveThrough(t, c, h, gate)
	ring(t, c, Bell{Queue: Bulk, Deliveries: deliveries(1)})
	looked := time.NewTimer(2 * maxPark)
	select {
	case b := <-heard:
		t.Errorf("heard %v behind a gate that is shut", b)
	case <-looked.C:
	}
	if info, err := asynq.NewInspectorFromRedisClient(c).GetQueueInfo(string(Bulk)); err != nil || info.Pending != 1 {
		t.Errorf("%+v, %v, want one bell for others to fetch", info, err)
	}
	gate.Open()
	receive(t, "bell that was left", heard)
}

func TestChime_soundsForBellsWhoseTimeHasCome(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	h, heard := collect()
	s, err := NewServer(ServerConfig{Redis: c, Log: slog.New(slog.DiscardHandler), Handler: h})
	do(t, err)
	bells := newChime()
	bells.patience = time.Hour
	ring(t, c, Bell{Queue: Bulk, Deliveries: deliveries(1), NotBefore: time.Now().Add(100 * time.Millisecond), Own: true})
	servers := s.servers(context.WithoutCancel(t.Context()), bells)
	for _, srv := range servers {
		do(t, srv.Start(asynq.HandlerFunc(s.verdict.process)))
	}
	t.Cleanup(func() {
		close(bells.stop)
		s.shutdown(servers)
	})
	receive(t, "bell after its time", heard)
}

func TestRinger_chimesForEachQueueOnce(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	heard := newChime()
	done := make(chan struct{})
	go func() { heard.listen(context.WithoutCancel(t.Context()), c); close(done) }() // waited for below
	eventually(t, "the chime is heard", func() bool {
		ring(t, c, Bell{Queue: "deliver-3", Deliveries: deliveries(1)}, Bell{Queue: Bulk, Deliveries: deliveries(1)})
		return len(heard.wake["deliver-3"]) == 1 && len(heard.wake[Bulk]) == 1
	})
	close(heard.stop)
	receive(t, "end of listen", done)
}

// subscribed tells of each subscription made through a client.
type subscribed struct {
	redis.UniversalClient

	made chan *redis.PubSub
}

func (s *subscribed) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	sub := s.UniversalClient.Subscribe(ctx, channels...)
	s.made <- sub
	return sub
}

func TestChime_subscribesAnewWhenItsSubscriptionEnds(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	through := &subscribed{UniversalClient: c, made: make(chan *redis.PubSub, 100)}
	heard := newChime()
	done := make(chan struct{})
	go func() { heard.listen(context.WithoutCancel(t.Context()), through); close(done) }() // waited for below
	for range 2 {
		do(t, receive(t, "subscription", through.made).Close())
	}
	receive(t, "third subscription", through.made)
	eventually(t, "the chime is heard again", func() bool {
		ring(t, c, Bell{Queue: Bulk, Deliveries: deliveries(1)})
		return len(heard.wake[Bulk]) == 1
	})
	close(heard.stop)
	receive(t, "end of listen", done)
}

func TestChime_endsThoughItsClientIsClosed(t *testing.T) {
	t.Parallel()
	raw := redistest.New(t)
	c, err := Connect(raw)
	do(t, err)
	through := &subscribed{UniversalClient: c, made: make(chan *redis.PubSub, 100)}
	heard := newChime()
	done := make(chan struct{})
	go func() { heard.listen(context.WithoutCancel(t.Context()), through); close(done) }() // waited for below
	receive(t, "subscription", through.made)
	do(t, c.Close())
	receive(t, "try to subscribe anew", through.made)
	close(heard.stop)
	receive(t, "end of listen", done)
}
