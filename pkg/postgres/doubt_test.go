package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestI4_anOutcomeWhoseAnswerGotLostIsNotLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 2))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 2 {
		t.Fatal(claims, err)
	}
	outcomes := []webhook.Outcome{outcome(claims[0], webhook.Succeeded), outcome(claims[1], webhook.Retrying)}
	for try := range 2 {
		got, err := b.work.Record(t.Context(), outcomes, webhook.Room{Ring: webhook.NoLimit, Holder: "x"})
		if err != nil || len(got.Lost) != 0 {
			t.Errorf("try %d: lost = %v, %v, want nothing", try+1, got.Lost, err)
		}
	}
	var attempts int
	if err := b.db.GetContext(t.Context(), &attempts, `SELECT count(*) FROM attempts`); err != nil || attempts != 2 {
		t.Errorf("attempts = %d, %v, want 2", attempts, err)
	}
	if diff := cmp.Diff(laneRow{0, 1, 0, 1}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

// The second statement has begun, and so sees what was before, when the first one
// commits.
func TestI4_anOutcomeThatIsRecordedTwiceAtOnceIsNotLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 2))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 2 {
		t.Fatal(claims, err)
	}
	outcomes := []webhook.Outcome{outcome(claims[0], webhook.Succeeded), outcome(claims[1], webhook.Retrying)}
	other := b.begin(t)
	if _, err := other.ExecContext(t.Context(), `SELECT FROM lanes WHERE webhook_id = $1 FOR UPDATE`, hook.UUID()); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		adm webhook.Admission
		err error
	}
	answers := make(chan answer, 2)
	for range 2 {
		go func() { // waited for below
			adm, err := b.work.Record(context.WithoutCancel(t.Context()), outcomes, webhook.Room{Ring: webhook.NoLimit, Holder: "x"})
			answers <- answer{adm, err}
		}()
	}
	b.awaitBlocked(t, 2)
	if err := other.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if a := <-answers; a.err != nil || len(a.adm.Lost) != 0 {
			t.Errorf("lost = %v, %v, want nothing", a.adm.Lost, a.err)
		}
	}
	if n := b.count(t, `attempts`); n != 2 {
		t.Errorf("%d attempts, want 2", n)
	}
}

func TestI3_leasesInDoubtAreReleasedAndNoOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 3))
	for i, holder := range []string{"doubtful", "doubtful", "known"} {
		if claims, err := b.work.Claim(t.Context(), ids(owed[i:i+1]), holder); err != nil || len(claims) != 1 {
			t.Fatal(claims, err)
		}
	}
	for name, doubt := range map[string]webhook.Doubt{
		"by webhook":  {Holders: []string{"doubtful", "never"}, Webhooks: []webhook.WebhookID{hook}},
		"by delivery": {Holders: []string{"doubtful"}, Deliveries: ids(owed[:1])},
	} {
		released, err := b.work.ReleaseHeld(t.Context(), doubt)
		if err != nil {
			t.Fatal(err)
		}
		got := map[webhook.DeliveryID]bool{}
		for _, o := range released {
			got[o.Delivery] = true
		}
		want := map[webhook.DeliveryID]bool{owed[0].Delivery: true, owed[1].Delivery: true}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b webhook.DeliveryID) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if claims, err := b.work.Claim(t.Context(), ids(owed), "doubtful"); err != nil || len(claims) != 2 {
			t.Errorf("%s: claimed again = %d, %v, want 2", name, len(claims), err)
		}
	}
}

func TestI3_aLeaseIsExtendedByItsHolderOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", window))
	mine, err := b.work.Claim(t.Context(), ids(owed[:2]), "mine")
	if err != nil || len(mine) != 2 {
		t.Fatal(mine, err)
	}
	left := func(o webhook.Owed) (seconds float64) {
		t.Helper()
		if err := b.db.GetContext(t.Context(), &seconds, `SELECT coalesce(extract(epoch FROM lease_until - now()), 0)
			FROM pending_deliveries WHERE delivery_id = $1`, o.Delivery.UUID()); err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	b.exec(t, `UPDATE pending_deliveries SET lease_until = now() - interval '1 second' WHERE lease_until IS NOT NULL`)
	if claims, err := b.work.Claim(t.Context(), ids(owed[1:2]), "other"); err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	b.exec(t, `UPDATE pending_deliveries SET lease_until = now() + interval '2 seconds' WHERE lease_holder = 'other'`)
	// One that is leased to nobody is named, too.
	if err := b.work.Extend(t.Context(), append(mine, webhook.Claim{Owed: owed[2], Holder: "mine", Lease: time.Minute})); err != nil {
		t.Fatal(err)
	}
	if whole := mine[0].Lease.Seconds(); left(owed[0]) < whole-5 || left(owed[0]) > whole {
		t.Errorf("%.1f s are left, want %.1f", left(owed[0]), whole)
	}
	if left(owed[1]) > 2 || left(owed[2]) != 0 {
		t.Errorf("another's lease lasts %.1f s, want 2 at most; nobody's %.1f, want none", left(owed[1]), left(owed[2]))
	}
	if claims, err := b.work.Claim(t.Context(), ids(owed[:1]), "other"); err != nil || len(claims) != 0 {
		t.Errorf("claimed %d of an extended lease, %v", len(claims), err)
	}
	b.exec(t, `UPDATE pending_deliveries SET lease_until = now() + interval '1 hour' WHERE lease_holder = 'mine'`)
	if err := b.work.Extend(t.Context(), mine); err != nil || left(owed[0]) < 3590 {
		t.Errorf("a longer lease was shortened to %.1f s, %v", left(owed[0]), err)
	}
}

func TestWork_claimingAndClosingLanesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var hooks []webhook.WebhookID
	for range 40 {
		hooks = append(hooks, b.webhook(t, "acme", "*"))
	}
	for round := range 20 {
		_, owed := b.accept(t, b.submission(t, "acme", 3))
		done := make(chan error, 3)
		for _, half := range [][]webhook.Owed{owed[:2*len(owed)/3], owed[len(owed)/3:]} {
			go func() {
				_, err := b.work.Claim(context.WithoutCancel(t.Context()), ids(half), fmt.Sprint(round, len(half)))
				done <- err
			}()
		}
		go func() { // as who records a 410 does, while others are claiming
			_, err := b.db.ExecContext(context.WithoutCancel(t.Context()), `UPDATE lanes SET quiet_until = 'infinity'`)
			if err == nil {
				_, err = b.relay.DisableGone(context.WithoutCancel(t.Context()), hooks)
			}
			done <- err
		}()
		for range 3 {
			if err := <-done; err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		b.exec(t, `TRUNCATE pending_deliveries`)
		b.exec(t, `UPDATE lanes SET open = true, admitted = 0, queued = 0, quiet_until = NULL`)
		b.exec(t, `UPDATE webhooks SET status = 'active', status_reason = ''`)
	}
}

func TestI1_aLockedLaneKeepsOnlyItsOwnTenantFromBeingAccepted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "stuck", "*")
	b.webhook(t, "acme", "*")
	tx, err := b.db.BeginTxx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM lanes WHERE webhook_id = $1 FOR UPDATE`, hook.UUID()); err != nil {
		t.Fatal(err)
	}
	stuck, free := b.submission(t, "stuck", 1), b.submission(t, "acme", 2)
	receipts, owed := b.accept(t, stuck, free, stuck)
	for _, i := range []int{0, 2} {
		if !errors.Is(receipts[i].Err, webhook.ErrUnavailable) {
			t.Errorf("receipt %d of the locked tenant: %v, want unavailable", i, receipts[i].Err)
		}
	}
	if receipts[1].Err != nil || len(owed) != 2 {
		t.Errorf("the other tenant: %v, %d owed, want 2", receipts[1].Err, len(owed))
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal("the lock ended before the accepting did: ", err)
	}
	if receipts, _ := b.accept(t, stuck); receipts[0].Err != nil {
		t.Errorf("after the lock: %v", receipts[0].Err)
	}
}
