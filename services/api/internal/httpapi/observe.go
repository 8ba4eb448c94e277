package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/graph-gophers/graphql-go"
	gqlerrors "github.com/graph-gophers/graphql-go/errors"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

const headerRequestID = "X-Request-Id"

// maxLoggedName bounds what a caller can put into the log by naming an operation.
const maxLoggedName = 64

// facts are what the handlers found out about a request, for its log line and
// the metrics.
type facts struct {
	tenant        webhook.TenantID
	operation     string
	operationType string
	outcome       string
	refusal       error
	places        []*limit.Place
}

// leave gives back what the request had taken. It is called when the answer is
// written: until then it is in memory, however slowly it is read.
func (f *facts) leave() {
	for _, place := range f.places {
		place.Leave()
	}
}

type factsKey struct{}

func factsOf(ctx context.Context) *facts {
	if f, ok := ctx.Value(factsKey{}).(*facts); ok {
		return f
	}
	return &facts{}
}

// observed gives each request its ids, a line in the log, and an answer even
// when its handler panics.
func observed(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		id, ok := obs.ParseRequestID(r.Header.Get(headerRequestID))
		if !ok {
			id = obs.NewRequestID()
		}
		fact := &facts{}
		ctx := obs.ChildSpan(obs.ContextWithRemote(r.Context(), r.Header.Get("Traceparent")))
		ctx = context.WithValue(obs.WithRequestID(ctx, id), factsKey{}, fact)
		w.Header().Set(headerRequestID, id)
		recorder := &statusRecorder{ResponseWriter: w}
		r = r.WithContext(ctx)
		defer func() {
			if value := recover(); value != nil {
				answerPanic(recorder, r, log, value)
			}
			logRequest(log, r, recorder.status, time.Since(started))
		}()
		next.ServeHTTP(recorder, r)
	})
}

func answerPanic(w *statusRecorder, r *http.Request, log *slog.Logger, value any) {
	if value == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
		panic(value)
	}
	log.ErrorContext(r.Context(), "panic while answering a request",
		slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(debug.Stack())))
	factsOf(r.Context()).outcome = protocol.CodeInternal
	if w.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	e := coded(protocol.CodeInternal, protocol.InternalMessage)
	e.Extensions["requestId"] = obs.RequestID(r.Context())
	answer{
		status:    http.StatusInternalServerError,
		mediaType: mediaTypeJSON,
		response:  &graphql.Response{Errors: []*gqlerrors.QueryError{e}},
	}.write(w, r)
}

// logRequest writes the access log: requests to the API are news, probes and
// static files are not.
func logRequest(log *slog.Logger, r *http.Request, status int, took time.Duration) {
	level := slog.LevelDebug
	if r.URL.Path == "/graphql" {
		level = slog.LevelInfo
	}
	fact := factsOf(r.Context())
	attrs := []slog.Attr{
		slog.String(obs.KeyMethod, r.Method),
		slog.String(obs.KeyPath, r.URL.Path),
		obs.Status(status),
		obs.Duration(took),
	}
	if fact.tenant != "" {
		attrs = append(attrs, obs.Tenant(fact.tenant))
	}
	if fact.operationType != "" {
		name := fact.operation
		if len(name) > maxLoggedName {
			name = name[:maxLoggedName]
		}
		attrs = append(attrs, slog.String("operation_type", fact.operationType), slog.String(obs.KeyOperation, name))
	}
	if fact.outcome != "" {
		attrs = append(attrs, slog.String("outcome", fact.outcome))
	}
	if fact.refusal != nil {
		attrs = append(attrs, slog.String("refusal", fact.refusal.Error()))
	}
	log.LogAttrs(r.Context(), level, "request", attrs...)
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader keeps the status.
func (s *statusRecorder) WriteHeader(status int) {
	if s.status == 0 {
		s.status = status
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write keeps the status that it implies.
func (s *statusRecorder) Write(b []byte) (int, error) {
	if s.status == 0 {
		s.status = http.StatusOK
	}
	return s.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *statusRecorder) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// secured says to browsers what no page of ours needs. GraphiQL sets a policy
// of its own.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}
