package httpapi

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

const (
	outcomeOK    = "ok"
	outcomeOther = "other"
	kindNone     = "none"
)

type metrics struct{ duration *prometheus.HistogramVec }

func newMetrics(registry *prometheus.Registry) *metrics {
	m := &metrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: obs.Namespace,
		Subsystem: "graphql",
		Name:      "request_duration_seconds",
		Help:      "Time to answer a request to /graphql, by kind of operation and code of the first error.",
		Buckets:   []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"operation", "outcome"})}
	registry.MustRegister(m.duration)
	return m
}

// observe keeps labels to the values that this package knows.
func (m *metrics) observe(f *facts, took time.Duration) {
	kind := f.operationType
	if kind == "" {
		kind = kindNone
	}
	outcome := outcomeOther
	if f.outcome == outcomeOK || slices.Contains(codes(), f.outcome) {
		outcome = strings.ToLower(f.outcome)
	}
	m.duration.WithLabelValues(kind, outcome).Observe(took.Seconds())
}

func codes() []string {
	return []string{protocol.CodeUnauthenticated, protocol.CodeForbidden, protocol.CodeBadUserInput, protocol.CodeLimitExceeded, protocol.CodeUnavailable, protocol.CodeInternal}
}
