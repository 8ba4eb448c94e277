package obs

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
)

// NewLogger returns the logger of a process: one JSON object a line, or text
// for people, coloured when w is a terminal. Lines logged with a context carry
// its request id and trace id.
func NewLogger(w io.Writer, config env.Log, service string) *slog.Logger {
	log := slog.New(contextHandler{newHandler(w, config)})
	if config.Format == env.Text {
		return log // the person who reads it knows what was started
	}
	return log.With(slog.String(KeyService, service), slog.String(KeyVersion, Version()))
}

func newHandler(w io.Writer, config env.Log) slog.Handler {
	if config.Format != env.Text {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: config.Level})
	}
	return tint.NewTextHandler(w, &tint.Options{
		Level:      config.Level,
		TimeFormat: time.TimeOnly + ".000",
		NoColor:    !isTerminal(w) || os.Getenv("NO_COLOR") != "",
	})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// contextHandler adds the ids that the context carries.
type contextHandler struct{ slog.Handler }

// Handle adds them to each record.
func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String(KeyRequestID, id))
	}
	if id := TraceID(ctx); id != "" {
		r.AddAttrs(slog.String(KeyTraceID, id))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs keeps adding them.
func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup keeps adding them.
func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
