package tasks

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/time/rate"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Handler looks at a bell's deliveries. Its error means trouble (a server is
// away, a fault of ours): the bell is rung again in a few seconds, as often as
// it takes; or it is ErrStopping. What became of a delivery is not an error but an Answer. An
// Answer's words are for own bells; another bell's deliveries get own bells.
type Handler func(ctx context.Context, b Bell) (Answer, error)

// ErrStopping is a Handler's answer to a bell that came too late for this process:
// it is rung again at once, for another one, and nothing is wrong.
var ErrStopping = errors.New("the worker was stopping")

// Answer says what is to become of a bell. The zero Answer: it is done.
type Answer struct {
	// RetryAt asks for the same bell at that time or up to two seconds later.
	RetryAt time.Time
	// Error is shown to operators with the waiting or archived bell: readable,
	// without URL, body or secret. A bell that waits without an Error was not
	// a failed attempt and is not counted as one.
	Error string
	// Exhausted puts the bell into the archive.
	Exhausted bool
}

const (
	minTroubleDelay = time.Second
	maxTroubleDelay = 10 * time.Second
	// faultDelay keeps a bell that makes a handler panic from spinning.
	faultDelay = 30 * time.Second
	// abandonedDelay is for a handler that outlived Timeout: PostgreSQL's lease
	// on the delivery will have ended by then.
	abandonedDelay = 10 * time.Second
)

// judge turns bells into asynq's behaviour. No other file knows how asynq
// wants to be told.
type judge struct {
	handler Handler
	log     *slog.Logger
	now     func() time.Time
	// troubleSince is the unix nanosecond of the first trouble since a handler
	// last succeeded; 0: none.
	troubleSince atomic.Int64
	sometimes    rate.Sometimes
}

func newJudge(h Handler, log *slog.Logger, now func() time.Time) *judge {
	return &judge{handler: h, log: log, now: now, sometimes: rate.Sometimes{First: 1, Interval: 5 * time.Second}}
}

// process decides without asking PostgreSQL about bells that only want to be
// seen waiting or dead, and hands the others to the handler.
func (j *judge) process(ctx context.Context, t *asynq.Task) error {
	if t.Type() != TypeDeliver {
		return archived("unknown task type")
	}
	b, err := DecodeBell(t.Payload())
	if err != nil {
		return archived("unreadable task: " + err.Error())
	}
	if q, ok := asynq.GetQueueName(ctx); ok {
		b.Queue = Queue(q)
	}
	if b.Exhausted {
		return archived(b.LastError)
	}
	if b.NotBefore.After(j.now()) {
		return waiting(b.NotBefore, b.LastError, false)
	}
	return j.handle(ctx, b)
}

func (j *judge) handle(ctx context.Context, b Bell) (outcome error) {
	defer func() {
		if p := recover(); p != nil {
			j.log.ErrorContext(ctx, "handler panicked", obs.Queue(string(b.Queue)), obs.Delivery(b.Deliveries[0]),
				slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			outcome = waiting(j.now().Add(faultDelay), "internal fault, the worker's log has it", true)
		}
	}()
	answer, err := j.handler(ctx, b)
	if errors.Is(err, ErrStopping) {
		return waiting(j.now(), ErrStopping.Error(), false)
	}
	if err != nil {
		return j.trouble(ctx, b, err)
	}
	j.troubleSince.Store(0)
	switch {
	case answer.Exhausted:
		return archived(answer.Error)
	case !answer.RetryAt.IsZero():
		return waiting(answer.RetryAt, answer.Error, answer.Error != "")
	default:
		return nil
	}
}

// trouble retries sooner or later depending on how long it has been going on.
// The error goes to the log only: what it says is not for operators' eyes.
func (j *judge) trouble(ctx context.Context, b Bell, err error) error {
	now := j.now()
	j.troubleSince.CompareAndSwap(0, now.UnixNano())
	since := now.Sub(time.Unix(0, j.troubleSince.Load()))
	delay := min(max(since, minTroubleDelay), maxTroubleDelay)
	j.sometimes.Do(func() {
		j.log.WarnContext(ctx, "bells not answered, ringing again", obs.Queue(string(b.Queue)), obs.Err(err),
			slog.Duration("trouble_for", since.Round(time.Second)), slog.Duration("retry_in", delay))
	})
	text := "internal fault, the worker's log has it"
	if errors.Is(err, webhook.ErrUnavailable) {
		text = "a server that the worker needs is away"
	}
	return waiting(now.Add(delay), text, false)
}

// verdict is how asynq is told: as an error of its handler.
type verdict struct {
	text    string
	at      time.Time
	failure bool
	archive bool
}

func archived(text string) error {
	if text == "" {
		text = "exhausted"
	}
	return &verdict{text: text, archive: true}
}

func waiting(at time.Time, text string, failure bool) error {
	if text == "" {
		text = "waiting until " + at.UTC().Format(time.RFC3339)
	}
	return &verdict{text: text, at: at, failure: failure}
}

// Error is what asynq stores as the task's last error and asynqmon shows.
func (v *verdict) Error() string { return safeText(v.text) }

// Is makes asynq archive.
func (v *verdict) Is(target error) bool { return v.archive && target == asynq.SkipRetry }

// isFailure tells asynq which errors to count. A lost lease, a handler that ran
// out of time and trouble are not the receiver's failures.
func isFailure(err error) bool {
	var v *verdict
	return errors.As(err, &v) && v.failure
}

// retryDelay is asynq's question how long to wait after err.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	var v *verdict
	switch {
	case errors.As(err, &v):
		return delayUntil(v.at, time.Now())
	case errors.Is(err, asynq.ErrLeaseExpired):
		return 0
	default:
		return abandonedDelay
	}
}

// delayUntil rounds up to the next whole second after at: asynq floors the
// time to seconds, and a bell must not ring before its time.
func delayUntil(at, now time.Time) time.Duration {
	if whole := at.Truncate(time.Second); whole.Before(at) {
		at = whole.Add(time.Second)
	}
	return max(at.Sub(now), 0)
}
