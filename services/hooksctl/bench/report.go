package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// report is everything that was measured, as --json writes it. Times are in
// milliseconds, memory in bytes.
type report struct {
	Machine machine         `json:"machine"`
	Seconds float64         `json:"seconds"`
	Rounds  []round         `json:"rounds,omitempty"`
	Latency *latencyFigures `json:"latency,omitempty"`
	Accept  *acceptFigures  `json:"accept,omitempty"`
	Memory  *memoryFigures  `json:"memory,omitempty"`
	Starved *starvedFigures `json:"starved,omitempty"`
	Burst   *burstFigures   `json:"burst,omitempty"`
	Shares  *sharesFigures  `json:"shares,omitempty"`
}

type machine struct {
	CPUs     int    `json:"cpus"`
	Go       string `json:"go"`
	Postgres string `json:"postgres"`
	Redis    string `json:"redis"`
}

// round is what was measured within a minute, and may be compared.
type round struct {
	Raw   rate `json:"raw"`
	Asynq rate `json:"asynq"`
	// Arrived is ours until the last arrival, Recorded until the last record.
	Arrived  rate `json:"arrived"`
	Recorded rate `json:"recorded"`
}

// cost is processor time: of the process in question and of the servers.
type cost struct{ Process, Postgres, Redis time.Duration }

// rate is a throughput and its price.
type rate struct {
	PerSecond float64 `json:"perSecond"`
	// CPU is seconds of processor time per 1,000.
	CPU         float64 `json:"cpu"`
	ProcessCPU  float64 `json:"processCpu"`
	PostgresCPU float64 `json:"postgresCpu"`
	RedisCPU    float64 `json:"redisCpu"`
}

func newRate(n int, took time.Duration, c cost) rate {
	per1000 := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(max(n, 1)) }
	return rate{
		PerSecond: float64(n) / took.Seconds(), CPU: per1000(c.Process + c.Postgres + c.Redis),
		ProcessCPU: per1000(c.Process), PostgresCPU: per1000(c.Postgres), RedisCPU: per1000(c.Redis),
	}
}

type latencyFigures struct {
	// Delivery is from the mutation's answer to the arrival at the receiver.
	Delivery quantiles `json:"delivery"`
	Mutation quantiles `json:"mutation"`
}

type acceptFigures struct {
	Single acceptRate `json:"dispatchEvent"`
	Batch  acceptRate `json:"dispatchEvents"`
}

type acceptRate struct {
	rate

	Call quantiles `json:"call"`
}

type memoryFigures struct {
	Parked int          `json:"parked"`
	API    stage.Memory `json:"api"`
	Worker stage.Memory `json:"worker"`
	Redis  int64        `json:"redis"` // used_memory at most
}

// quantiles are in milliseconds, by nearest rank.
type quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func newQuantiles(times []time.Duration) quantiles {
	if len(times) == 0 {
		return quantiles{}
	}
	slices.Sort(times)
	at := func(p float64) float64 {
		rank := int(math.Ceil(p * float64(len(times))))
		return float64(times[max(rank, 1)-1]) / float64(time.Millisecond)
	}
	return quantiles{P50: at(0.5), P99: at(0.99), Max: at(1)}
}

// median picks a figure of every round.
func (r report) median(pick func(round) float64) float64 {
	values := r.each(pick)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

func (r report) each(pick func(round) float64) []float64 {
	values := make([]float64, len(r.Rounds))
	for i, each := range r.Rounds {
		values[i] = pick(each)
	}
	slices.Sort(values)
	return values
}

func (r report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding figures: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing figures: %w", err)
	}
	return nil
}
