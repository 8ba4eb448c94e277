package tasks

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// asynqLog is an asynq.Logger. asynq formats its texts, so they go into an
// attribute behind a constant message. Its info is our debug; what it says
// every second while Redis is away is said every ten.
type asynqLog struct {
	log       *slog.Logger
	sometimes *rate.Sometimes
}

func newAsynqLog(log *slog.Logger, q Queue) *asynqLog {
	return &asynqLog{log.With(obs.Queue(string(q))), &rate.Sometimes{First: 1, Interval: 10 * time.Second}}
}

const asynqMessage = "asynq"

// Debug is never called: see the server's LogLevel.
func (l *asynqLog) Debug(args ...any) { l.log.Debug(asynqMessage, "detail", fmt.Sprint(args...)) }

// Info tells of starts and stops, which the process logs itself.
func (l *asynqLog) Info(args ...any) { l.log.Debug(asynqMessage, "detail", fmt.Sprint(args...)) }

// Warn tells, among other things, of each archived task: the worker has logged
// that delivery's end already.
func (l *asynqLog) Warn(args ...any) {
	detail := fmt.Sprint(args...)
	if strings.HasPrefix(detail, "Retry exhausted") {
		l.log.Debug(asynqMessage, "detail", detail)
		return
	}
	l.log.Warn(asynqMessage, "detail", detail)
}

// Error is mostly about Redis being away, said by each of asynq's parts.
func (l *asynqLog) Error(args ...any) {
	l.sometimes.Do(func() { l.log.Error(asynqMessage, "detail", fmt.Sprint(args...)) })
}

// Fatal is there for the interface. asynq never calls it, and ending the process
// would be main's business.
func (l *asynqLog) Fatal(args ...any) { l.log.Error(asynqMessage, "detail", fmt.Sprint(args...)) }
