package postgres_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// buryAll calls Bury until it says that there is no more to do now.
func (b *bundle) buryAll(t *testing.T, hook webhook.WebhookID, limit int) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = b.relay.Bury(t.Context(), hook, limit); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bundle) deleteLane(t *testing.T, hook webhook.WebhookID) {
	t.Helper()
	b.exec(t, `UPDATE lanes SET open = false, deleted = true WHERE webhook_id = $1`, hook.UUID())
}

func (b *bundle) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	if err := b.db.GetContext(t.Context(), &n, `SELECT count(*) FROM `+query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRelay_buriesWhatADeletedWebhookOwes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	b.accept(t, b.submission(t, "acme", 5))
	if more, err := b.relay.Bury(t.Context(), hook, 2); more || err != nil {
		t.Errorf("burying a webhook that lives = %t, %v", more, err)
	}
	b.deleteLane(t, hook)
	b.buryAll(t, hook, 2)
	if n := b.count(t, `deliveries WHERE failure_reason = 'webhook_deleted'`); n != 5 {
		t.Errorf("%d deliveries failed, want 5", n)
	}
	if n := b.count(t, `lanes`) + b.count(t, `pending_deliveries`); n != 0 {
		t.Errorf("%d lanes and pending deliveries left, want none", n)
	}
}

func TestRelay_aLockedOrLeasedLaneKeepsNoOtherFromBeingBuried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	locked, leased, free := b.webhook(t, "a", "*"), b.webhook(t, "b", "*"), b.webhook(t, "c", "*")
	_, owed := b.accept(t, b.submission(t, "a", 1), b.submission(t, "b", 1), b.submission(t, "c", 1))
	claims, err := b.work.Claim(t.Context(), ids(owed[1:2]), "h")
	if err != nil || len(claims) != 1 {
		t.Fatal(claims, err)
	}
	for _, hook := range []webhook.WebhookID{locked, leased, free} {
		b.deleteLane(t, hook)
	}
	other := b.begin(t)
	if _, err := other.ExecContext(t.Context(), `SELECT FROM lanes WHERE webhook_id = $1 FOR UPDATE`, locked.UUID()); err != nil {
		t.Fatal(err)
	}
	hooks, err := b.relay.Deleted(t.Context(), webhook.WebhookID{}, 10)
	if err != nil || len(hooks) != 3 {
		t.Fatalf("deleted = %v, %v, want three", hooks, err)
	}
	for _, hook := range hooks {
		b.buryAll(t, hook, 10)
	}
	left, err := b.relay.Deleted(t.Context(), webhook.WebhookID{}, 10)
	if err != nil || len(left) != 2 {
		t.Errorf("left = %v, %v, want the locked and the leased one", left, err)
	}
	if n := b.count(t, `lanes WHERE webhook_id = $1`, free.UUID()); n != 0 {
		t.Error("the free one was not buried")
	}
}

func TestRelay_deletedWebhooksTakeTurns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := map[webhook.WebhookID]bool{}
	for range 3 {
		hook := b.webhook(t, "acme", "*")
		b.deleteLane(t, hook)
		all[hook] = true
	}
	seen := map[webhook.WebhookID]bool{}
	var after webhook.WebhookID
	for range 4 { // once round and one more
		hooks, err := b.relay.Deleted(t.Context(), after, 1)
		if err != nil || len(hooks) != 1 {
			t.Fatal(hooks, err)
		}
		after = hooks[0]
		seen[after] = true
	}
	if diff := cmp.Diff(len(all), len(seen)); diff != "" {
		t.Error(diff)
	}
}

func TestRelay_mendsLanes(t *testing.T) {
	t.Parallel()
	const many = postgres.AuditDepth + 20
	for name, tc := range map[string]struct {
		events           int
		admitted, queued int // how far off the counts are
		want             int
	}{
		"right":                           {events: 5, want: 0},
		"slots lost":                      {events: 5, admitted: 4, want: 1},
		"a queue that seems empty":        {events: 5, queued: -2, want: 1},
		"a queue that does not end":       {events: 5, queued: 1, want: 1},
		"a long queue that is right":      {events: many, want: 0},
		"a long queue that seems empty":   {events: many, queued: -many, want: 1},
		"a short queue that seems long":   {events: 5, queued: 10 * many, want: 1},
		"a long queue that seems shorter": {events: many, queued: -many / 2, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			hook := b.webhook(t, "acme", "*")
			b.accept(t, b.submission(t, "acme", tc.events))
			b.exec(t, `UPDATE lanes SET admitted = admitted + $1, queued = queued + $2`, tc.admitted, tc.queued)
			for _, want := range []int{tc.want, 0} {
				next, n, err := b.relay.MendLanes(t.Context(), webhook.WebhookID{}, 10)
				if err != nil || n != want || !next.IsZero() {
					t.Errorf("mended %d, next %s, %v, want %d and the start", n, next, err, want)
				}
			}
			rows := tc.events - window
			if diff := cmp.Diff(laneRow{window, rows, window, rows}, b.lane(t, hook)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRelay_mendsPageByPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		b.webhook(t, "acme", "*")
	}
	b.exec(t, `UPDATE lanes SET queued = 1`)
	var after webhook.WebhookID
	for _, want := range []int{2, 2, 1} {
		var n int
		var err error
		if after, n, err = b.relay.MendLanes(t.Context(), after, 2); err != nil || n != want {
			t.Errorf("mended %d, %v, want %d", n, err, want)
		}
	}
	if !after.IsZero() {
		t.Error("no end")
	}
}

// What the relay asks every few seconds, or under a lane's lock, must cost the
// same however much is pending: 20,000 here are some 400 pages.
func TestRelay_doesNotReadTheBacklog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hook := b.webhook(t, "acme", "*")
	b.accept(t, b.submission(t, "acme", window))
	b.exec(t, `INSERT INTO pending_deliveries (delivery_id, webhook_id, tenant_id, event_id, event_type, budget, admitted)
		SELECT gen_random_uuid(), $1, 'acme', gen_random_uuid(), 'lead.created', 3, false FROM generate_series(1, 20000)`, hook.UUID())
	b.exec(t, `UPDATE lanes SET queued = queued + 20000`)
	for name, tc := range map[string]struct {
		types, query, args string
		most               int
	}{
		"audit": {"uuid, bigint, bigint", postgres.SuspectLanes, fmt.Sprintf(`'%s', 200, %d`, webhook.WebhookID{}.UUID(), postgres.AuditDepth), 200},
		"pause": {"uuid[], boolean", postgres.CloseLanes, fmt.Sprintf(`'{%s}', false`, hook.UUID()), 50},
		"ring":  {"float8, bigint, boolean", postgres.RingUnclaimed, `-1, 1000, true`, 100},
		"admit": {"jsonb, text, uuid[], bigint, bigint", postgres.AdmitDue, fmt.Sprintf(`'{"acme": 2}', 'h', '{%s}', 9, 2`, hook.UUID()), 100},
		// A delivery costs some pages of its own: of the row and of each index.
		"bury": {"uuid, bigint", postgres.BuryDeliveries, fmt.Sprintf(`'%s', 10`, hook.UUID()), 200},
	} {
		t.Run(name, func(t *testing.T) { // one by one: they lock the same lane
			if pages := b.pages(t, tc.types, tc.query, tc.args); pages > tc.most {
				t.Errorf("touched %d pages, want at most %d", pages, tc.most)
			}
		})
	}
}

// pages runs a statement as the relay does, planned once for any parameters,
// undoes it, and returns how many pages it touched.
func (b *bundle) pages(t *testing.T, types, query, args string) int {
	t.Helper()
	tx := b.begin(t)
	defer tx.Rollback() //nolint:errcheck // nothing depends on it
	if _, err := tx.ExecContext(t.Context(), postgres.InOrder); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `PREPARE asked (`+types+`) AS `+query); err != nil {
		t.Fatal(err)
	}
	defer tx.Exec(`DEALLOCATE asked`) //nolint:errcheck // the database is dropped
	var text string
	err := tx.GetContext(t.Context(), &text, `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked (`+args+`)`)
	if err != nil {
		t.Fatal(err)
	}
	var plans []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal([]byte(text), &plans); err != nil || len(plans) != 1 {
		t.Fatal(err, text)
	}
	t.Logf("%d pages", plans[0].Plan.Hit+plans[0].Plan.Read)
	return plans[0].Plan.Hit + plans[0].Plan.Read
}
