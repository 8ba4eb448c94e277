package relay_test

import (
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestRelay_aQuietLaneGoesOnInTheNextTick(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	b.exec(`UPDATE lanes SET quiet_until = now() + interval '1 minute'`)
	if owed := b.accept(window + 2); len(owed) != 0 {
		t.Fatalf("admitted %d to a quiet lane", len(owed))
	}
	b.exec(`UPDATE pending_deliveries SET due_at = now() - interval '10 seconds'`)
	b.tick("while it is quiet", 0)
	b.exec(`UPDATE pending_deliveries SET due_at = now()`)
	b.exec(`UPDATE lanes SET quiet_until = now()`)
	b.tick("when it is not", window)
}

func TestRelay_disablesWhatOnlyFailsWithinTenTicks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owed := b.accept(1)
	claims, err := b.work.Claim(t.Context(), deliveries(owed), "h")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	_, err = b.work.Record(t.Context(), []webhook.Outcome{{
		Claim: claims[0], Attempt: webhook.Attempt{Number: 1, ErrorClass: webhook.ClassTimeout, Error: "x"},
		Next: webhook.Next{Status: webhook.Failed, Reason: webhook.AttemptsExhausted},
	}}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ age, want string }{{"59 minutes", "active"}, {"1 hour", "disabled"}} {
		b.exec(`UPDATE lanes SET failing_since = failed_at - '` + step.age + `'::interval`)
		for range 10 {
			b.relay.Tick(t.Context())
		}
		var status string
		if err := b.db.GetContext(t.Context(), &status, `SELECT status FROM webhooks`); err != nil || status != step.want {
			t.Errorf("after failing for %s: %s, %v, want %s", step.age, status, err, step.want)
		}
	}
}

func TestRelay_ringsForWhatItAnnounces(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tick("a Redis that was never used", 0)
	b.exec(`UPDATE subscriptions SET pattern = 'webhook.*'`)
	// More than a page, about a webhook that is not there any more.
	b.exec(`INSERT INTO notices (tenant_id, type, webhook_id) SELECT $1, 'webhook.disabled', gen_random_uuid() FROM generate_series(1, 60)`, tenant)
	b.tick("its window", window)
	var left, owed int
	if err := b.db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM notices), (SELECT count(*) FROM pending_deliveries)`).Scan(&left, &owed); err != nil || left != 0 || owed != 60 {
		t.Errorf("notices left: %d, deliveries owed: %d, %v, want 0 and 60", left, owed, err)
	}
}
