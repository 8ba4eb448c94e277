package deliver

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

type metrics struct {
	attempts *prometheus.CounterVec
	duration prometheus.Histogram
	batch    prometheus.Histogram
	chained  prometheus.Counter
	lost     prometheus.Counter
	faults   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, inFlight, waiting func() float64) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hooks_attempts_total", Help: "Recorded attempts by error class; OK is a 2xx.",
		}, []string{"class"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooks_attempt_duration_seconds", Help: "Time of a whole exchange with a receiver.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "hooks_record_batch_size", Help: "Outcomes recorded by one statement.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		chained: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_chained_total", Help: "Deliveries that were claimed while recording others, without a task.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_outcomes_lost_total", Help: "Outcomes that came after their lease had ended.",
		}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "hooks_claim_faults_total", Help: "Claims that could not be sent: a secret that no key of this process opens.",
		}),
	}
	reg.MustRegister(m.attempts, m.duration, m.batch, m.chained, m.lost, m.faults, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hooks_slots_in_use", Help: "Deliveries claimed by this worker and not answered yet.",
	}, inFlight), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hooks_slots_wanted", Help: "Deliveries that wait for a slot of their tenant's share.",
	}, waiting))
	return m
}

func (m *metrics) attempt(a webhook.Attempt) {
	class := string(a.ErrorClass)
	if a.OK() {
		class = "OK"
	}
	m.attempts.WithLabelValues(class).Inc()
	m.duration.Observe(a.Duration.Seconds())
}
