package tasks

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

func TestServer_answersABell(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	h, bells := collect()
	serve(t, c, h)
	for _, q := range AllQueues() {
		want := Bell{Queue: q, Tenant: "acme", EventType: "lead.created", Deliveries: deliveries(3), Attempt: 1}
		ring(t, c, want)
		if diff := cmp.Diff(want, receive(t, "bell of "+string(q), bells), equalIDs()); diff != "" {
			t.Errorf("bell (-want +got):\n%s", diff)
		}
	}
	eventually(t, "Redis is empty of tasks", func() bool {
		stats, err := ReadStats(t.Context(), c, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stats {
			if s.Pending+s.Active+s.Retry+s.Archived != 0 || s.ProcessedTotal != 1 {
				return false
			}
		}
		return true
	})
}

func TestServer_futureBellWaitsUnderRetryWithItsLastError(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	h, bells := collect()
	serve(t, c, h)
	at := time.Now().Add(2300 * time.Millisecond)
	own := Bell{Queue: "deliver-2", Tenant: "acme", Deliveries: deliveries(1), Attempt: 2, NotBefore: at, LastError: "HTTP 500", Own: true}
	ring(t, c, own)

	i := asynq.NewInspectorFromRedisClient(c)
	var tasks []*asynq.TaskInfo
	eventually(t, "the bell waits under Retry", func() bool {
		tasks = inspect(t, i.ListRetryTasks, own.Queue)
		return len(tasks) == 1
	})
	got := tasks[0]
	if got.LastErr != "HTTP 500" || got.Retried != 0 || got.ID != own.taskID() {
		t.Errorf("waiting task: id %s, last error %q, retried %d", got.ID, got.LastErr, got.Retried)
	}
	if early := at.Sub(got.NextProcessAt); early > 0 || early < -time.Second {
		t.Errorf("next at %s, want within a second after %s", got.NextProcessAt, at)
	}
	b := receive(t, "bell after its time", bells)
	if now := time.Now(); now.Before(at) || now.After(at.Add(5*time.Second)) {
		t.Errorf("rang at %s, want soon after %s", now, at)
	}
	if b.Attempt != 2 || b.LastError != "HTTP 500" {
		t.Errorf("bell changed while it waited: %+v", b)
	}
}

func TestServer_exhaustedBellIsArchivedUnheard(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	h, bells := collect()
	stop := serve(t, c, h)
	ring(t, c, Bell{Queue: "deliver-0", Deliveries: deliveries(1), Attempt: 3, LastError: "HTTP 410", Own: true, Exhausted: true})
	i := asynq.NewInspectorFromRedisClient(c)
	eventually(t, "the bell is archived", func() bool {
		tasks := inspect(t, i.ListArchivedTasks, "deliver-0")
		return len(tasks) == 1 && tasks[0].LastErr == "HTTP 410"
	})
	stop()
	if len(bells) != 0 {
		t.Error("the handler heard of it")
	}
}

func TestServer_handlerDecides(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	ids := deliveries(3)
	at := time.Now().Add(time.Hour)
	serve(t, c, func(_ context.Context, b Bell) (Answer, error) {
		switch b.Deliveries[0] {
		case ids[0]:
			return Answer{RetryAt: at, Error: "HTTP 503"}, nil
		case ids[1]:
			return Answer{Exhausted: true, Error: "HTTP 500"}, nil
		default:
			return Answer{}, errors.New("password=hunter2")
		}
	})
	for _, id := range ids {
		ring(t, c, Bell{Queue: Bulk, Deliveries: deliveries(3)[indexOf(ids, id):][:1], Attempt: 1, Own: true})
	}
	i := asynq.NewInspectorFromRedisClient(c)
	eventually(t, "two wait, one is archived", func() bool {
		return len(inspect(t, i.ListRetryTasks, Bulk)) == 2 && len(inspect(t, i.ListArchivedTasks, Bulk)) == 1
	})
	failed, err := i.GetTaskInfo(string(Bulk), ids[0].String()+":1")
	if err != nil {
		t.Fatal(err)
	}
	if failed.Retried != 1 || failed.LastErr != "HTTP 503" || failed.NextProcessAt.Before(at) {
		t.Errorf("failed attempt: retried %d, last error %q, next %s", failed.Retried, failed.LastErr, failed.NextProcessAt)
	}
	trouble, err := i.GetTaskInfo(string(Bulk), ids[2].String()+":1")
	if err != nil {
		t.Fatal(err)
	}
	if trouble.Retried != 0 || strings.Contains(trouble.LastErr, "hunter2") {
		t.Errorf("trouble: retried %d, last error %q", trouble.Retried, trouble.LastErr)
	}
}

func indexOf[T comparable](all []T, one T) int {
	for i, v := range all {
		if v == one {
			return i
		}
	}
	return -1
}

func TestServer_shutdownWaitsForHandlersAndDoesNotCancelThem(t *testing.T) {
	t.Parallel()
	c, _ := connect(t)
	started, release := make(chan context.Context), make(chan struct{})
	stop := serve(t, c, func(ctx context.Context, _ Bell) (Answer, error) {
		started <- ctx
		<-release
		return Answer{}, nil
	})
	ring(t, c, Bell{Queue: "deliver-1", Deliveries: deliveries(1)})
	ctx := receive(t, "call of the handler", started)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }() // waited for below

	// Once fetching has stopped a new bell stays where it is.
	eventually(t, "a new bell is not fetched", func() bool {
		ring(t, c, Bell{Queue: "deliver-2", Deliveries: deliveries(1)})
		select {
		case <-started:
			return false
		case <-stopped:
			t.Fatal("Run returned before its handler")
		case <-time.After(100 * time.Millisecond):
		}
		return true
	})
	if ctx.Err() != nil {
		t.Errorf("handler's context ended with the server's: %v", context.Cause(ctx))
	}
	close(release)
	receive(t, "end of Run", stopped)
	if n := c.LLen(t.Context(), Queue("deliver-1").key("active")).Val(); n != 0 {
		t.Errorf("%d tasks still active", n)
	}
}

func TestServer_waitsForRedis(t *testing.T) {
	t.Parallel()
	direct, raw := connect(t)
	gate, through := newGate(t, raw)
	ring(t, direct, Bell{Queue: Test, Deliveries: deliveries(1)})
	h, bells := collect()
	log := &lines{}
	s, err := NewServer(ServerConfig{Redis: connectTo(t, through), Log: slog.New(slog.NewTextHandler(log, nil)), Handler: h})
	if err != nil {
		t.Fatal(err)
	}
	start(t, s)
	eventually(t, "it says that it waits", func() bool { return strings.Contains(log.String(), "waiting for Redis") })
	gate.set(true)
	receive(t, "bell once Redis is there", bells)
	if !strings.Contains(log.String(), "Redis is there") {
		t.Errorf("log does not say that Redis came back:\n%s", log)
	}
}

func TestServer_stopsWhileItWaitsForRedis(t *testing.T) {
	t.Parallel()
	_, raw := connect(t)
	_, through := newGate(t, raw)
	h, _ := collect()
	serve(t, connectTo(t, through), h)()
}

func TestServer_stopsWithinSecondsWhileRedisDoesNotAnswer(t *testing.T) {
	t.Parallel()
	direct, raw := connect(t)
	gate, through := newGate(t, raw)
	gate.set(true)
	started, release := make(chan context.Context), make(chan struct{})
	stop := serve(t, connectTo(t, through), func(ctx context.Context, _ Bell) (Answer, error) {
		started <- ctx
		<-release
		return Answer{}, nil
	})
	ring(t, direct, Bell{Queue: "deliver-3", Deliveries: deliveries(1)})
	receive(t, "call of the handler", started)
	gate.hold()
	close(release) // it has a result to tell, too
	began := time.Now()
	stop()
	if took := time.Since(began); took > maxSilence+commandLimit+4*lastLimit {
		t.Errorf("took %s", took)
	}
}

// falling makes Redis fall silent when somebody subscribes.
type falling struct {
	redis.UniversalClient

	gate *gate
	fell chan struct{}
}

func (f *falling) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	if channels[0] != chimeChannel {
		f.gate.hold()
		select {
		case f.fell <- struct{}{}:
		default:
		}
	}
	return f.UniversalClient.Subscribe(ctx, channels...)
}

// asynq waits without end for the answer to its first subscription, and cannot be
// stopped while it does.
func TestServer_stopsThoughItsFirstSubscriptionIsNotAnswered(t *testing.T) {
	t.Parallel()
	_, raw := connect(t)
	gate, through := newGate(t, raw)
	gate.set(true)
	h, _ := collect()
	f := &falling{UniversalClient: connectTo(t, through), gate: gate, fell: make(chan struct{}, 1)}
	stop := serve(t, f, h)
	receive(t, "a subscription", f.fell)
	began := time.Now()
	stop()
	if took := time.Since(began); took > maxSilence+commandLimit+4*lastLimit {
		t.Errorf("took %s", took)
	}
}

func TestServer_goesOnAfterRedisWasAway(t *testing.T) {
	t.Parallel()
	direct, raw := connect(t)
	gate, through := newGate(t, raw)
	gate.set(true)
	h, bells := collect()
	serve(t, connectTo(t, through), h)
	ring(t, direct, Bell{Queue: "deliver-3", Deliveries: deliveries(1)})
	receive(t, "bell before", bells)
	gate.set(false)
	ring(t, direct, Bell{Queue: "deliver-3", Deliveries: deliveries(1)})
	gate.set(true)
	receive(t, "bell after", bells)
}

func TestNewServer_refusesAnIncompleteConfig(t *testing.T) {
	t.Parallel()
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("accepted an empty config")
	}
}
