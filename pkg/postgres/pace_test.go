package postgres_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// limited is a webhook whose receiver takes so many requests between two silences
// and answers the others 429 with a Retry-After, and the worker that sends to it.
type limited struct {
	*bundle

	hook  webhook.WebhookID
	work  *postgres.Work
	takes int

	rounds, sent, refused int
}

func (b *limited) answer(claims []webhook.Claim, taken *int) []webhook.Outcome {
	outcomes := make([]webhook.Outcome, len(claims))
	for i, c := range claims {
		a := webhook.Attempt{Number: c.Attempt, StartedAt: time.Now(), ResponseStatus: 204}
		b.sent++
		if *taken++; *taken > b.takes {
			b.refused++
			a.ResponseStatus, a.ErrorClass, a.Error, a.RetryAfter = 429, webhook.ClassStatus, "receiver answered 429", time.Second
		}
		outcomes[i] = webhook.Outcome{Claim: c, Attempt: a, Next: webhook.Decide(c.Policy, a, c.LastAttempt, 0)}
	}
	return outcomes
}

// round sends until the receiver asks for silence or has everything, and ends the
// silence. What waits for its next attempt is due then, in its order.
func (b *limited) round(t *testing.T) (more bool) {
	t.Helper()
	b.rounds++
	adm, err := b.work.Admit(t.Context(), []webhook.WebhookID{b.hook}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 100}, Holder: "h"})
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for len(adm.Claimed) > 0 {
		outcomes := b.answer(adm.Claimed, &taken)
		if adm, err = b.work.Record(t.Context(), outcomes, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 100}, Holder: "h"}); err != nil || len(adm.Lost) > 0 {
			t.Fatal(adm.Lost, err)
		}
	}
	b.endQuiet(t)
	b.exec(t, `UPDATE pending_deliveries SET due_at = due_at - interval '1 hour' WHERE NOT admitted`)
	return b.count(t, `pending_deliveries`) > 0
}

func TestI10_aReceiverWithALimitIsNotOverrun(t *testing.T) {
	t.Parallel()
	const window = 10
	for takes, tc := range map[int]struct{ events, exhausted int }{
		// Each of the first window is refused but for one, and then one for each that is
		// taken: three attempts are hardly enough for that.
		1:  {events: 30, exhausted: 6},
		5:  {events: 30},
		20: {events: 100},
	} {
		t.Run(strconv.Itoa(takes), func(t *testing.T) {
			t.Parallel()
			base := setup(t)
			b := &limited{bundle: base, hook: base.webhook(t, "acme", "*"), takes: takes}
			b.work = postgres.NewWork(base.db, base.keys, window, time.Now)
			b.exec(t, `UPDATE lanes SET quiet_until = now()+ interval '1 hour'`)
			b.accept(t, b.submission(t, "acme", tc.events)) // parked
			b.exec(t, `UPDATE lanes SET quiet_until = NULL`)
			for more := true; more; {
				refused := b.refused
				more = b.round(t)
				most := 1 + takes/10 // as many as are in flight when the limit is reached
				if b.rounds == 1 {
					most = window
				}
				if n := b.refused - refused; n > most {
					t.Errorf("round %d: %d requests are refused, want at most %d", b.rounds, n, most)
				}
			}
			exhausted := b.count(t, `deliveries WHERE failure_reason = 'attempts_exhausted'`)
			t.Logf("%d requests in %d rounds, %d refused, %d deliveries exhausted", b.sent, b.rounds, b.refused, exhausted)
			if exhausted > tc.exhausted {
				t.Errorf("%d of %d deliveries are exhausted, want at most %d", exhausted, tc.events, tc.exhausted)
			}
		})
	}
}

// The window opens again one by one, whoever admits, and at once when somebody sees
// to it.
func TestI10_aWindowOpensStepByStepAfterAQuiet(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	hook := b.create(t, newWebhook(t, "acme", "*"))
	b.quietOnce(t)
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	_, more := acceptLarge(t, b.bundle, b.submission(t, "acme", 40))
	if len(owed) != 1 || len(more) != 0 {
		t.Errorf("new events ring for %d and %d deliveries, want one", len(owed), len(more))
	}
	inFlight := b.claimAll(t, owed)
	for n := 1; n <= 25; n++ {
		adm, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(inFlight[0], webhook.Succeeded)}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Holder: "h"})
		if err != nil {
			t.Fatal(err)
		}
		inFlight = append(inFlight[1:], adm.Claimed...)
		if adm, err = b.work.Admit(t.Context(), []webhook.WebhookID{hook}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Holder: "h"}); err != nil {
			t.Fatal(err)
		}
		if inFlight = append(inFlight, adm.Claimed...); len(inFlight) != min(1+n/10, window) {
			t.Fatalf("after %d successes %d are in flight, want %d", n, len(inFlight), min(1+n/10, window))
		}
	}
	b.record(t, outcome(inFlight[0], webhook.Retrying), tooMany(inFlight[1], webhook.Retrying, time.Second))
	b.endQuiet(t)
	if hooks, err := b.relay.WithRoom(t.Context(), window, 0, webhook.WebhookID{}, 9); err != nil || len(hooks) != 0 {
		t.Errorf("after another silence the relay sees room at %v, %v", hooks, err)
	}
	b.set(t, "acme", hook, webhook.Paused)
	b.set(t, "acme", hook, webhook.Active)
	if owed, err := b.work.Fill(t.Context(), []webhook.WebhookID{hook}); err != nil || len(owed) != window-1 {
		t.Errorf("a resume rings for %d, %v, want the rest of the window", len(owed), err)
	}
}

// quietOnce has a webhook ask for a silence that is over.
func (b *bundle) quietOnce(t *testing.T) {
	t.Helper()
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	b.record(t, tooMany(b.claim(t, owed[0].Delivery), webhook.Retrying, time.Hour))
	b.endQuiet(t)
}

func (b *bundle) claimAll(t *testing.T, owed []webhook.Owed) (claims []webhook.Claim) {
	t.Helper()
	for _, o := range owed {
		claims = append(claims, b.claim(t, o.Delivery))
	}
	return claims
}
