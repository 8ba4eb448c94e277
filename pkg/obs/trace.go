package obs

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const traceparentHeader = "traceparent"

// ContextWithRemote returns a context that continues the trace of a
// traceparent header. A malformed or empty one leaves the context as it was.
func ContextWithRemote(ctx context.Context, traceparent string) context.Context {
	carrier := propagation.MapCarrier{traceparentHeader: traceparent}
	return propagation.TraceContext{}.Extract(ctx, carrier)
}

// TraceParent returns the traceparent header of the context's span, empty when
// there is none.
func TraceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceparentHeader]
}

// TraceID returns the context's trace id in hex, empty when there is none.
func TraceID(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.HasTraceID() {
		return ""
	}
	return span.TraceID().String()
}

// ChildSpan returns a context with a new span id below the context's span, or
// with a new trace when there is none.
//
// A new trace says "not sampled": nothing here records spans, and whether a
// receiver records its own is the receiver's decision.
func ChildSpan(ctx context.Context) context.Context {
	parent := trace.SpanContextFromContext(ctx)
	config := trace.SpanContextConfig{
		TraceID:    parent.TraceID(),
		TraceFlags: parent.TraceFlags(),
		TraceState: parent.TraceState(),
	}
	if !parent.HasTraceID() {
		_, _ = rand.Read(config.TraceID[:]) // never fails
	}
	_, _ = rand.Read(config.SpanID[:])
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(config))
}
