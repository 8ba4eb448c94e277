package postgres_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const window = 3

// bench is a database with its stores.
type bundle struct {
	db     *sqlx.DB
	keys   seal.Keyring
	events *postgres.Events
	work   *postgres.Work
	relay  *postgres.Relay
	prune  *postgres.Pruner
}

func setup(t testing.TB) *bundle {
	t.Helper()
	db, err := postgres.Open(postgres.Config{URL: postgrestest.New(t), HotPath: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return setupOver(t, db)
}

func setupOver(t testing.TB, db *sqlx.DB) *bundle {
	t.Helper()
	keys, err := seal.ParseKeys("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
	if err != nil {
		t.Fatal(err)
	}
	return &bundle{
		db: db, keys: keys,
		events: postgres.NewEvents(db, window),
		work:   postgres.NewWork(db, keys, window, time.Now),
		relay:  postgres.NewRelay(db),
		prune:  postgres.NewPruner(db),
	}
}

func random(t testing.TB) (b [10]byte) {
	t.Helper()
	_, _ = rand.Read(b[:])
	return b
}

func (b *bundle) webhook(t testing.TB, tenant webhook.TenantID, patterns ...string) webhook.WebhookID {
	t.Helper()
	id := webhook.NewWebhookID(time.Now(), random(t))
	secret, err := webhook.SecretFromKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := postgres.SealSecret(b.keys, tenant, id, secret)
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `INSERT INTO webhooks (id, tenant_id, name, url, events, patterns, secrets_sealed, secrets_expire_at,
		max_attempts, timeout_ms, initial_backoff_ms, api_version, created_by)
		VALUES ($1, $2, 'n', 'https://example.com', '{}', $3, ARRAY[$4], '{infinity}', 3, 5000, 5000, 'v', 'me')`,
		id.UUID(), tenant, pq.Array(patterns), sealed)
	b.exec(t, `INSERT INTO lanes (webhook_id, tenant_id) VALUES ($1, $2)`, id.UUID(), tenant)
	for _, p := range patterns {
		b.exec(t, `INSERT INTO subscriptions (tenant_id, pattern, webhook_id) VALUES ($1, $2, $3)`, tenant, p, id.UUID())
	}
	return id
}

func (b *bundle) exec(t testing.TB, query string, args ...any) {
	t.Helper()
	if _, err := b.db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) submission(t testing.TB, tenant webhook.TenantID, n int) webhook.Submission {
	t.Helper()
	typ, err := webhook.ParseEventType("lead.created")
	if err != nil {
		t.Fatal(err)
	}
	var sub webhook.Submission
	for i := range n {
		id := webhook.NewEventID(time.Now(), random(t))
		sub.Events = append(sub.Events, webhook.SubmittedEvent{
			Event: webhook.Event{ID: id, Tenant: tenant, Type: typ, Body: fmt.Sprintf(`{"n":%d}`, i)},
		})
	}
	return sub
}

func (b *bundle) accept(t testing.TB, subs ...webhook.Submission) ([]webhook.Receipt, []webhook.Owed) {
	t.Helper()
	receipts, owed, err := b.events.Accept(t.Context(), subs)
	if err != nil {
		t.Fatal(err)
	}
	return receipts, owed
}

func ids(owed []webhook.Owed) []webhook.DeliveryID {
	out := make([]webhook.DeliveryID, len(owed))
	for i, o := range owed {
		out[i] = o.Delivery
	}
	return out
}

type laneRow struct {
	Admitted, Queued, RowsAdmitted, RowsQueued int
}

// lane reads a lane's counts and counts its rows.
func (b *bundle) lane(t *testing.T, id webhook.WebhookID) (l laneRow) {
	t.Helper()
	err := b.db.QueryRowContext(t.Context(), `SELECT admitted, queued,
		(SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND p.admitted AND kind = 'event'),
		(SELECT count(*) FROM pending_deliveries p WHERE p.webhook_id = l.webhook_id AND NOT p.admitted)
		FROM lanes l WHERE webhook_id = $1`, id.UUID()).Scan(&l.Admitted, &l.Queued, &l.RowsAdmitted, &l.RowsQueued)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func outcome(c webhook.Claim, status webhook.DeliveryStatus) webhook.Outcome {
	a := webhook.Attempt{Number: c.Attempt, StartedAt: time.Now(), Duration: time.Millisecond, ResponseStatus: 200}
	next := webhook.Next{Status: status}
	if status != webhook.Succeeded {
		a.ResponseStatus, a.ErrorClass, a.Error = 500, webhook.ClassStatus, "receiver answered 500"
	}
	if status == webhook.Failed {
		next.Reason = webhook.AttemptsExhausted
	}
	if status == webhook.Retrying {
		next.Delay = time.Hour
	}
	return webhook.Outcome{Claim: c, Attempt: a, Next: next}
}

func TestI1_acceptedEventOwesOneDeliveryPerSubscribedWebhook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	exact, wild, all := b.webhook(t, "acme", "lead.created"), b.webhook(t, "acme", "lead.*"), b.webhook(t, "acme", "*", "lead.created")
	b.webhook(t, "acme", "account.*")
	b.webhook(t, "other", "*")

	receipts, owed := b.accept(t, b.submission(t, "acme", 2), b.submission(t, "nobody", 1))

	if got := receipts[0].Events[0].Deliveries; got != 3 {
		t.Errorf("deliveries of a subscribed event = %d, want 3", got)
	}
	if got := receipts[1].Events[0].Deliveries; got != 0 {
		t.Errorf("deliveries of an event nobody subscribes to = %d, want 0", got)
	}
	var events int
	if err := b.db.GetContext(t.Context(), &events, `SELECT count(*) FROM events`); err != nil || events != 3 {
		t.Errorf("stored events = %d, %v, want 3", events, err)
	}
	want := map[webhook.DeliveryID]bool{}
	for _, e := range receipts[0].Events {
		for _, hook := range []webhook.WebhookID{exact, wild, all} {
			want[webhook.DeliveryIDFor(e.ID, hook)] = true
		}
	}
	got := map[webhook.DeliveryID]bool{}
	for _, o := range owed {
		got[o.Delivery] = true
	}
	if diff := cmp.Diff(len(want), len(got)); diff != "" {
		t.Error(diff)
	}
	for id := range want {
		if !got[id] {
			t.Errorf("delivery %s is derived by the domain but not by SQL", id)
		}
	}
}

func TestI3_twoClaimsOfOneDeliveryGiveOneLease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 2))

	results := make(chan int, 8)
	for i := range 8 {
		go func() {
			claims, err := b.work.Claim(context.WithoutCancel(t.Context()), ids(owed), fmt.Sprint("holder", i))
			if err != nil {
				t.Error(err)
			}
			results <- len(claims)
		}()
	}
	total := 0
	for range 8 {
		total += <-results
	}
	if total != 2 {
		t.Errorf("leases of two deliveries = %d, want 2", total)
	}
}

func TestI4_anOutcomeIsRecordedOnceAndOnlyByItsHolder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	claims, err := b.work.Claim(t.Context(), ids(owed), "first")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	// The lease ends and another worker takes the delivery over.
	b.exec(t, `UPDATE pending_deliveries SET lease_until = now() - interval '1 second'`)
	again, err := b.work.Claim(t.Context(), ids(owed), "second")
	if err != nil || len(again) != 1 {
		t.Fatal(again, err)
	}

	late, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], webhook.Failed)}, webhook.Room{Ring: webhook.NoLimit, Holder: "x"})
	if err != nil || len(late.Lost) != 1 {
		t.Errorf("late record: lost = %v, %v, want the delivery", late.Lost, err)
	}
	for _, wantLost := range []int{0, 1} {
		got, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(again[0], webhook.Retrying)}, webhook.Room{Ring: webhook.NoLimit, Holder: "x"})
		if err != nil || len(got.Lost) != wantLost {
			t.Errorf("lost = %v, %v, want %d", got.Lost, err, wantLost)
		}
	}
	var numbers []int
	if err := b.db.SelectContext(t.Context(), &numbers, `SELECT number FROM attempts ORDER BY 1`); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1}, numbers); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(laneRow{0, 1, 0, 1}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

func TestWork_aBacklogMovesOnThroughRecords(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 10))
	if len(owed) != window {
		t.Fatalf("admitted %d, want the window of %d", len(owed), window)
	}
	if diff := cmp.Diff(laneRow{3, 7, 3, 7}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for len(claims) > 0 {
		var outcomes []webhook.Outcome
		for _, c := range claims {
			outcomes = append(outcomes, outcome(c, webhook.Succeeded))
		}
		done += len(outcomes)
		adm, err := b.work.Record(t.Context(), outcomes, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 2}, Ring: webhook.NoLimit, Holder: "h"})
		if err != nil {
			t.Fatal(err)
		}
		if len(adm.Lost) > 0 || len(adm.Claimed) > 2 {
			t.Fatalf("lost %d, claimed %d", len(adm.Lost), len(adm.Claimed))
		}
		claims = adm.Claimed
		more, err := b.work.Claim(t.Context(), ids(adm.Rung), "h")
		if err != nil {
			t.Fatal(err)
		}
		claims = append(claims, more...)
	}
	if done != 10 {
		t.Errorf("delivered %d, want 10", done)
	}
	if diff := cmp.Diff(laneRow{}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	var succeeded int
	if err := b.db.GetContext(t.Context(), &succeeded, `SELECT count(*) FROM deliveries WHERE status = 'success' AND attempt_count = 1`); err != nil || succeeded != 10 {
		t.Errorf("succeeded = %d, %v, want 10", succeeded, err)
	}
}

func TestWork_recordRingsForNoMoreThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	half, none := b.webhook(t, "acme", "*"), b.webhook(t, "beta", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 10), b.submission(t, "beta", 10))
	record := func(room webhook.Room, owed ...webhook.Owed) webhook.Admission {
		t.Helper()
		room.Holder = "h"
		claims, err := b.work.Claim(t.Context(), ids(owed), "h")
		if err != nil || len(claims) != len(owed) {
			t.Fatal(len(claims), err)
		}
		outcomes := make([]webhook.Outcome, len(claims))
		for i, c := range claims {
			outcomes[i] = outcome(c, webhook.Succeeded)
		}
		adm, err := b.work.Record(t.Context(), outcomes, room)
		if err != nil || len(adm.Lost) > 0 {
			t.Fatal(len(adm.Lost), err)
		}
		return adm
	}
	// All of the one webhook, and all but one of the other.
	slices.SortStableFunc(owed, func(x, y webhook.Owed) int { return strings.Compare(string(y.Tenant), string(x.Tenant)) })
	adm := record(webhook.Room{}, owed[:2*window-1]...)
	if len(adm.Claimed) != 0 || len(adm.Rung) != 1 || adm.Rung[0].Webhook != none {
		t.Fatalf("without room %+v, want a bell for the one that has none otherwise", adm)
	}
	if diff := cmp.Diff(laneRow{1, 7, 1, 7}, b.lane(t, half)); diff != "" {
		t.Error(diff)
	}
	adm = record(webhook.Room{Lease: map[webhook.TenantID]int{"beta": 1}, Ring: 1}, adm.Rung...)
	if len(adm.Claimed) != 1 || len(adm.Rung) != 1 {
		t.Errorf("with room for one and one bell: %d and %d", len(adm.Claimed), len(adm.Rung))
	}
	if diff := cmp.Diff(laneRow{2, 4, 2, 4}, b.lane(t, none)); diff != "" {
		t.Error(diff)
	}
	hooks, err := b.relay.WithRoom(t.Context(), window, 0, webhook.WebhookID{}, 9)
	if err != nil || len(hooks) != 2 {
		t.Errorf("the relay finds room at %v, %v; want both", hooks, err)
	}
}

// What is one tenant's to lease is no other's, whoever's deliveries are older.
func TestWork_recordLeasesToEachTenantItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	b.webhook(t, "beta", "*")
	_, first := b.accept(t, b.submission(t, "acme", 10))
	_, second := b.accept(t, b.submission(t, "beta", 10))
	claims, err := b.work.Claim(t.Context(), ids(append(first, second...)), "h")
	if err != nil {
		t.Fatal(err)
	}
	outcomes := make([]webhook.Outcome, len(claims))
	for i, c := range claims {
		outcomes[i] = outcome(c, webhook.Succeeded)
	}
	adm, err := b.work.Record(t.Context(), outcomes, webhook.Room{
		Lease: map[webhook.TenantID]int{"beta": 2, "gamma": 5}, Ring: 1, Holder: "h",
	})
	if err != nil || len(adm.Lost) > 0 {
		t.Fatal(adm.Lost, err)
	}
	if len(adm.Claimed) != 2 || adm.Claimed[0].Tenant != "beta" || adm.Claimed[1].Tenant != "beta" {
		t.Errorf("leased %+v, want two of beta", adm.Claimed)
	}
	if len(adm.Rung) != 1 || adm.Rung[0].Tenant != "acme" {
		t.Errorf("rung for %+v, want one of acme, which has the oldest", adm.Rung)
	}
}

func TestWork_claimCarriesWhatSendingTakes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	sub := b.submission(t, "acme", 1)
	_, owed := b.accept(t, sub)
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	c := claims[0]
	if c.Body != sub.Events[0].Event.Body || c.Webhook != hook || c.Attempt != 1 || c.LastAttempt != 3 ||
		c.URL != "https://example.com" || len(c.Secrets) != 1 || c.Lease != 5*time.Second+postgres.LeaseMargin {
		t.Errorf("claim = %+v", c)
	}
	var lease float64
	if err := b.db.GetContext(t.Context(), &lease, `SELECT extract(epoch FROM lease_until - rung_at) FROM pending_deliveries`); err != nil {
		t.Fatal(err)
	}
	if lease < c.Lease.Seconds() || lease > c.Lease.Seconds()+5 {
		t.Errorf("lease in PostgreSQL = %.1f s, want %s from the claim", lease, c.Lease)
	}
}

func TestRelay_disableHoldsWhatNobodySends(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 5))
	claims, err := b.work.Claim(t.Context(), ids(owed[:1]), "h")
	if err != nil {
		t.Fatal(err)
	}
	b.disable(t, hook)
	if diff := cmp.Diff(laneRow{1, 4, 1, 4}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	adm, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], webhook.Succeeded)}, webhook.Room{Lease: map[webhook.TenantID]int{"acme": 9}, Ring: webhook.NoLimit, Holder: "h"})
	if err != nil || len(adm.Claimed)+len(adm.Rung) != 0 {
		t.Errorf("a disabled webhook got %v, %v", adm, err)
	}
	left, err := b.relay.Unclaimed(t.Context(), 0, true, 100)
	if err != nil || len(left) != 0 {
		t.Errorf("unclaimed = %v, %v, want none", left, err)
	}
}

func TestRelay_unclaimedIsRungAfterTheGraceAndSeldomerEachTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	b.accept(t, b.submission(t, "acme", 2))
	for _, step := range []struct {
		age  string
		want int
	}{{"0", 0}, {"3 seconds", 2}, {"3 seconds", 0}, {"5 seconds", 2}} {
		b.exec(t, `UPDATE pending_deliveries SET rung_at = now() - $1::interval`, step.age)
		owed, err := b.relay.Unclaimed(t.Context(), 2*time.Second, true, 100)
		if err != nil || len(owed) != step.want {
			t.Errorf("after %s: rung %d, %v, want %d", step.age, len(owed), err, step.want)
		}
	}
}

func TestRelay_oneLeader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, err := postgres.Lead(t.Context(), b.db, postgres.RelayLock)
	if err != nil || first == nil {
		t.Fatal(first, err)
	}
	if second, err := postgres.Lead(t.Context(), b.db, postgres.RelayLock); err != nil || second != nil {
		t.Fatalf("second leader = %v, %v, want none", second, err)
	}
	if err := first.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := postgres.Lead(t.Context(), b.db, postgres.RelayLock)
	if err != nil || again == nil {
		t.Fatal("nobody can lead after resignation", err)
	}
	_ = again.Resign(t.Context())
}

func TestEvents_idempotencyKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	keyed := func(tenant webhook.TenantID, print byte) webhook.Submission {
		sub := b.submission(t, tenant, 1)
		sub.Events[0].IdempotencyKey = "k"
		sub.Events[0].Fingerprint[0] = print
		return sub
	}
	first, _ := b.accept(t, keyed("acme", 1))
	same, owed := b.accept(t, keyed("acme", 1))
	if !same[0].Events[0].Duplicate || same[0].Events[0].ID != first[0].Events[0].ID || same[0].Events[0].Deliveries != 1 || len(owed) != 0 {
		t.Errorf("repeated key: %+v, owed %v", same, owed)
	}
	other, _ := b.accept(t, keyed("acme", 2))
	if other[0].Err == nil {
		t.Error("the same key with another body was accepted")
	}
	foreign, _ := b.accept(t, keyed("other", 2))
	if foreign[0].Err != nil || foreign[0].Events[0].Duplicate {
		t.Errorf("another tenant's key interfered: %+v", foreign)
	}
	b.exec(t, `UPDATE idempotency_keys SET created_at = now() - interval '25 hours'`)
	expired, _ := b.accept(t, keyed("acme", 2))
	if expired[0].Err != nil || expired[0].Events[0].Duplicate {
		t.Errorf("an expired key still counts: %+v", expired)
	}
}

func TestPruner_partitions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	// A day without a partition goes to the default one and moves over later.
	far := time.Now().AddDate(0, 0, 9)
	typ, _ := webhook.ParseEventType("lead.created")
	b.accept(t, webhook.Submission{Events: []webhook.SubmittedEvent{{
		Event: webhook.Event{ID: webhook.NewEventID(far, random(t)), Tenant: "acme", Type: typ, Body: "{}"},
	}}})
	if n, err := b.prune.CreatePartitions(t.Context(), far, 0); err != nil || n != 3 {
		t.Fatalf("made %d, %v, want 3", n, err)
	}
	table := "deliveries_" + far.UTC().Format("20060102")
	var moved int
	if err := b.db.GetContext(t.Context(), &moved, `SELECT count(*) FROM `+table); err != nil || moved != 1 {
		t.Errorf("moved = %d, %v, want 1", moved, err)
	}
	days, err := b.prune.DropPartitions(t.Context(), far.AddDate(0, 0, 3), 24*time.Hour)
	if err != nil || len(days) == 0 {
		t.Fatal(days, err)
	}
	var left, pending, lanes int
	if err := b.db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM pending_deliveries),
		(SELECT sum(admitted + queued) FROM lanes)`).Scan(&left, &pending, &lanes); err != nil || left+pending+lanes != 0 {
		t.Errorf("left: events %d, pending %d, counted %d, %v", left, pending, lanes, err)
	}
}

func TestWork_claimSeesWhatTheWebhookIsNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "*")
	for _, url := range []string{"https://a.example", "https://b.example"} {
		b.exec(t, `UPDATE webhooks SET url = $1`, url)
		_, owed := b.accept(t, b.submission(t, "acme", 1))
		claims, err := b.work.Claim(t.Context(), ids(owed), url)
		if err != nil || len(claims) != 1 {
			t.Fatal(claims, err)
		}
		if claims[0].URL != url {
			t.Errorf("URL = %s, want %s", claims[0].URL, url)
		}
	}
}

func TestWork_aSecretThatCannotBeOpenedIsThatClaimsFaultOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bad, good := b.webhook(t, "acme", "*"), b.webhook(t, "acme", "*")
	b.exec(t, `UPDATE webhooks SET secrets_sealed = ARRAY['v1.00000000.AAAA'] WHERE id = $1`, bad.UUID())
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 2 {
		t.Fatal(claims, err)
	}
	for _, c := range claims {
		if (c.Fault != nil) != (c.Webhook == bad) {
			t.Errorf("webhook %s (good is %s): fault = %v", c.Webhook, good, c.Fault)
		}
	}
	if err := b.work.Release(t.Context(), claims); err != nil {
		t.Fatal(err)
	}
	if again, err := b.work.Claim(t.Context(), ids(owed), "h2"); err != nil || len(again) != 2 {
		t.Errorf("released deliveries claimed again: %d, %v, want 2", len(again), err)
	}
}

// A delivery that waits hours for its retry must not keep new events waiting.
func TestEvents_aWaitingRetryDoesNotHoldNewEventsBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 1))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	if _, err := b.work.Record(t.Context(), []webhook.Outcome{outcome(claims[0], webhook.Retrying)}, webhook.Room{Ring: webhook.NoLimit, Holder: "h"}); err != nil {
		t.Fatal(err)
	}
	if _, owed := b.accept(t, b.submission(t, "acme", 1)); len(owed) != 1 {
		t.Errorf("admitted %d of a new event's deliveries, want 1", len(owed))
	}
	if diff := cmp.Diff(laneRow{1, 1, 1, 1}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
}

func TestEvents_newOnesDoNotOvertakeABacklog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	_, owed := b.accept(t, b.submission(t, "acme", 10))
	claims, err := b.work.Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != window {
		t.Fatal(claims, err)
	}
	// Somebody is at work, and has no room for more: all but one slot are free.
	outcomes := []webhook.Outcome{outcome(claims[0], webhook.Succeeded), outcome(claims[1], webhook.Succeeded)}
	if adm, err := b.work.Record(t.Context(), outcomes, webhook.Room{Holder: "h"}); err != nil || len(adm.Rung) > 0 {
		t.Fatal(adm, err)
	}
	b.exec(t, `UPDATE pending_deliveries SET due_at = now() - interval '3 seconds'`)
	if _, owed := b.accept(t, b.submission(t, "acme", 2)); len(owed) != 0 {
		t.Errorf("%d new deliveries are admitted before older ones", len(owed))
	}
	if _, owed := acceptLarge(t, b, b.submission(t, "acme", 2)); len(owed) != 0 {
		t.Errorf("%d new deliveries of many are admitted before older ones", len(owed))
	}
	if diff := cmp.Diff(laneRow{1, 11, 1, 11}, b.lane(t, hook)); diff != "" {
		t.Error(diff)
	}
	// Nobody is at work: whoever goes on with a new one goes on with the others.
	b.exec(t, `DELETE FROM pending_deliveries WHERE admitted`)
	b.exec(t, `UPDATE lanes SET admitted = 0`)
	if _, owed := b.accept(t, b.submission(t, "acme", 1)); len(owed) != 1 {
		t.Errorf("admitted %d of a new event's deliveries although nobody is at work, want 1", len(owed))
	}
}
