package tasks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestJudge_process(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 10, 0, 0, 500_000_000, time.UTC)
	own := Bell{Queue: Bulk, Deliveries: deliveries(1), Attempt: 2, LastError: "HTTP 500", Own: true}
	future, dead := own, own
	future.NotBefore = now.Add(time.Millisecond)
	dead.Exhausted = true
	past := own
	past.NotBefore = now
	secret := errors.New("dial tcp: password=hunter2")

	type want struct {
		called, archive, failure bool
		text                     string
		at                       time.Time
	}
	for name, tc := range map[string]struct {
		bell    Bell
		answer  Answer
		err     error
		panics  bool
		want    want
		outcome bool // an outcome other than done
	}{
		"done":                     {bell: own, want: want{called: true}},
		"not before its time":      {bell: future, outcome: true, want: want{text: "HTTP 500", at: future.NotBefore}},
		"at its time":              {bell: past, want: want{called: true}},
		"exhausted is not handled": {bell: dead, outcome: true, want: want{text: "HTTP 500", archive: true}},
		"attempt failed": {bell: own, answer: Answer{RetryAt: now.Add(time.Minute), Error: "HTTP 503"}, outcome: true,
			want: want{called: true, text: "HTTP 503", at: now.Add(time.Minute), failure: true}},
		"leased by another": {bell: own, answer: Answer{RetryAt: now.Add(time.Minute)}, outcome: true,
			want: want{called: true, text: "waiting until 2026-11-23T10:01:00Z", at: now.Add(time.Minute)}},
		"exhausted now": {bell: own, answer: Answer{Exhausted: true, Error: "HTTP 410"}, outcome: true,
			want: want{called: true, text: "HTTP 410", archive: true}},
		"server away": {bell: own, err: fmt.Errorf("claiming: %w", webhook.Unavailable(secret)), outcome: true,
			want: want{called: true, text: "a server that the worker needs is away", at: now.Add(time.Second)}},
		"stopping": {bell: own, err: fmt.Errorf("turned away: %w", ErrStopping), outcome: true,
			want: want{called: true, text: "the worker was stopping", at: now}},
		"fault": {bell: own, err: secret, outcome: true,
			want: want{called: true, text: "internal fault, the worker's log has it", at: now.Add(time.Second)}},
		"panic": {bell: own, panics: true, outcome: true,
			want: want{called: true, text: "internal fault, the worker's log has it", at: now.Add(30 * time.Second), failure: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			called := false
			j := newJudge(func(context.Context, Bell) (Answer, error) {
				called = true
				if tc.panics {
					panic(secret)
				}
				return tc.answer, tc.err
			}, slog.New(slog.DiscardHandler), func() time.Time { return now })
			task, err := tc.bell.task()
			if err != nil {
				t.Fatal(err)
			}
			err = j.process(t.Context(), task)
			if called != tc.want.called {
				t.Errorf("handler called: %t, want %t", called, tc.want.called)
			}
			if !tc.outcome {
				if err != nil {
					t.Errorf("got %v, want done", err)
				}
				return
			}
			var v *verdict
			if !errors.As(err, &v) {
				t.Fatalf("got %v, want a verdict", err)
			}
			got := want{called: called, archive: errors.Is(err, asynq.SkipRetry), failure: isFailure(err), text: err.Error(), at: v.at}
			if got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestJudge_archivesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	j := newJudge(nil, slog.New(slog.DiscardHandler), time.Now)
	for name, task := range map[string]*asynq.Task{
		"unknown type": asynq.NewTask("email:send", nil),
		"garbage":      asynq.NewTask(TypeDeliver, []byte("garbage")),
	} {
		if err := j.process(t.Context(), task); !errors.Is(err, asynq.SkipRetry) {
			t.Errorf("%s: got %v, want it archived", name, err)
		}
	}
}

func TestJudge_troubleBacksOffAndRecovers(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	var fault error
	j := newJudge(func(context.Context, Bell) (Answer, error) { return Answer{}, fault },
		slog.New(slog.DiscardHandler), func() time.Time { return now })
	bell := Bell{Queue: Bulk, Deliveries: deliveries(1)}
	delay := func() time.Duration {
		t.Helper()
		task, err := bell.task()
		if err != nil {
			t.Fatal(err)
		}
		var v *verdict
		if !errors.As(j.process(t.Context(), task), &v) {
			return 0
		}
		return v.at.Sub(now)
	}
	for i, step := range []struct {
		pass time.Duration
		err  error
		want time.Duration
	}{
		{0, errors.New("x"), time.Second},
		{4 * time.Second, errors.New("x"), 4 * time.Second},
		{time.Hour, errors.New("x"), maxTroubleDelay},
		{time.Second, nil, 0},
		{time.Second, errors.New("x"), time.Second},
	} {
		now, fault = now.Add(step.pass), step.err
		if got := delay(); got != step.want {
			t.Errorf("step %d: delay %s, want %s", i, got, step.want)
		}
	}
}

func TestJudge_aStopIsNoTrouble(t *testing.T) {
	t.Parallel()
	log, now := &lines{}, time.Unix(1_800_000_000, 0)
	err := ErrStopping
	j := newJudge(func(context.Context, Bell) (Answer, error) { return Answer{}, err },
		slog.New(slog.NewTextHandler(log, nil)), func() time.Time { return now })
	task, taskErr := Bell{Queue: Bulk, Deliveries: deliveries(1)}.task()
	if taskErr != nil {
		t.Fatal(taskErr)
	}
	_ = j.process(t.Context(), task)
	if log.String() != "" {
		t.Errorf("the log has it:\n%s", log)
	}
	now, err = now.Add(time.Hour), errors.New("x")
	var v *verdict
	if !errors.As(j.process(t.Context(), task), &v) || v.at.Sub(now) != minTroubleDelay {
		t.Errorf("trouble after a stop waits for %s, want %s", v.at.Sub(now), minTroubleDelay)
	}
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	if got := retryDelay(0, fmt.Errorf("recovering: %w", asynq.ErrLeaseExpired), nil); got != 0 {
		t.Errorf("after a lost lease: %s, want 0", got)
	}
	if got := retryDelay(0, context.DeadlineExceeded, nil); got != abandonedDelay {
		t.Errorf("after a timeout: %s, want %s", got, abandonedDelay)
	}
	for _, err := range []error{asynq.ErrLeaseExpired, context.DeadlineExceeded, context.Canceled} {
		if isFailure(err) {
			t.Errorf("%v counts as a failed attempt", err)
		}
	}
}

func TestDelayUntil_neverEarlyOnceAsynqHasFlooredIt(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 400_000_000)
	for _, wait := range []time.Duration{-time.Hour, 0, 1, 599 * time.Millisecond, 600 * time.Millisecond, time.Second, 12345678901} {
		at := now.Add(wait)
		fires := time.Unix(now.Add(delayUntil(at, now)).Unix(), 0) // as asynq stores it
		if wait > 0 && fires.Before(at) {
			t.Errorf("wait %s: fires %s early", wait, at.Sub(fires))
		}
		if late := fires.Sub(at); wait > 0 && late >= time.Second {
			t.Errorf("wait %s: fires %s late", wait, late)
		}
	}
}
