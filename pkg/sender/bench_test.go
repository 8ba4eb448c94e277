package sender_test

import (
	"context"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
)

// BenchmarkSend is the price of one attempt over kept loopback connections, 1 KB
// and 64 at a time, receiver included.
func BenchmarkSend(b *testing.B) {
	r := sendertest.New(b, sendertest.Fast())
	s := newSender(b, sender.Config{})
	req := request(b, r.URL)
	req.Body = strings.Repeat("x", 1024)
	b.ReportAllocs()
	b.SetParallelism(32) // times GOMAXPROCS
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a, err := s.Send(context.Background(), req); err != nil || !a.OK() {
				b.Errorf("attempt %+v, error %v", a, err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
}
