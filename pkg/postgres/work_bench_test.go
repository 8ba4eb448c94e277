package postgres_test

import (
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// BenchmarkWork drains a backlog of 64 webhooks without sending anything: the
// cost of claims, records and admission per delivery.
func BenchmarkWork(b *testing.B) {
	s := setup(b)
	var hooks []webhook.TenantID
	for i := range 64 {
		tenant := webhook.TenantID("t" + string(rune('a'+i/26)) + string(rune('a'+i%26)))
		s.webhook(b, tenant, "*")
		hooks = append(hooks, tenant)
	}
	var owed []webhook.Owed
	for n := 0; n < b.N; {
		var batch []webhook.Submission
		for range 500 {
			sub := s.submission(b, hooks[n%len(hooks)], 1)
			sub.Events[0].Event.Body = `{"pad":"` + strings.Repeat("x", 1000) + `"}`
			batch = append(batch, sub)
			n++
		}
		_, more := s.accept(b, batch...)
		owed = append(owed, more...)
	}
	b.ResetTimer()
	claims, err := s.work.Claim(b.Context(), ids(owed), "h")
	if err != nil {
		b.Fatal(err)
	}
	done := 0
	for len(claims) > 0 {
		n := min(len(claims), 200)
		outcomes, room := make([]webhook.Outcome, n), webhook.Room{Lease: map[webhook.TenantID]int{}, Holder: "h"}
		for i, c := range claims[:n] {
			outcomes[i] = outcome(c, webhook.Succeeded)
			room.Lease[c.Tenant]++
		}
		claims = claims[n:]
		adm, err := s.work.Record(b.Context(), outcomes, room)
		if err != nil || len(adm.Lost) > 0 {
			b.Fatal(err, len(adm.Lost))
		}
		done += n
		claims = append(claims, adm.Claimed...)
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "deliveries/s")
}
