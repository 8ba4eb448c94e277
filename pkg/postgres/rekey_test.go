package postgres_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	oldKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" // the bundle's
	newKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
)

func keyring(t testing.TB, keys ...string) seal.Keyring {
	t.Helper()
	ring, err := seal.ParseKeys(strings.Join(keys, ","))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func rekey(t *testing.T, b *manageBundle, keys postgres.RekeyKeys, dry bool) postgres.Rekeyed {
	t.Helper()
	done, err := postgres.NewRekey(b.db, keys).Run(t.Context(), dry, func(postgres.Rekeyed) {})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func withHeader(t *testing.T, w webhook.Webhook) webhook.Webhook {
	t.Helper()
	w.Headers = []webhook.Header{{Name: "Authorization", Value: "Bearer abc"}}
	return w
}

// sealedRows is everything that a Rekey could change, and what it must not.
func (b *manageBundle) sealedRows(t *testing.T) (rows []string) {
	t.Helper()
	if err := b.db.SelectContext(t.Context(), &rows, `SELECT w::text FROM webhooks w ORDER BY id`); err != nil {
		t.Fatal(err)
	}
	return rows
}

func (b *manageBundle) seals(t *testing.T) map[string]int {
	t.Helper()
	seals, err := postgres.InspectSeals(t.Context(), b.db)
	if err != nil {
		t.Fatal(err)
	}
	return seals
}

func TestRekey_everySealedValue(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	plain, rotated := b.create(t, newWebhook(t, "acme", "*")), b.create(t, withHeader(t, newWebhook(t, "globex", "*")))
	deleted := b.create(t, newWebhook(t, "acme", "account.created"))
	if err := b.hooks.Delete(t.Context(), "acme", deleted, nowMs()); err != nil {
		t.Fatal(err)
	}
	before, err := b.hooks.Rotate(t.Context(), "globex", rotated, secret(t, 2), nowMs(), nowMs().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	both := keyring(t, newKey, oldKey)
	all := postgres.Rekeyed{Webhooks: 3, Secrets: 4, Headers: 1}
	was := b.sealedRows(t)
	if n, err := postgres.NewRekey(b.db, both).Count(t.Context()); err != nil || n != 3 {
		t.Errorf("to be sealed anew: %d, %v, want 3", n, err)
	}
	if diff := cmp.Diff(all, rekey(t, b, both, true)); diff != "" {
		t.Errorf("dry run (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(was, b.sealedRows(t)); diff != "" {
		t.Errorf("a dry run changed something: %s", diff)
	}
	if diff := cmp.Diff(all, rekey(t, b, both, false)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{both.IDs()[0]: 3}, b.seals(t)); diff != "" {
		t.Errorf("keys in use (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(postgres.Rekeyed{}, rekey(t, b, both, false)); diff != "" {
		t.Errorf("again (-want +got)\n%s", diff)
	}

	only := keyring(t, newKey)
	after, err := postgres.NewWebhooks(b.db, only).Get(t.Context(), "globex", rotated)
	if err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("webhook with the new key only: %+v, %v, want %+v", after, err, before)
	}
	_, owed := b.accept(t, b.submission(t, "acme", 1), b.submission(t, "globex", 1))
	claims, err := postgres.NewWork(b.db, only, window, time.Now).Claim(t.Context(), ids(owed), "h")
	if err != nil || len(claims) != 2 {
		t.Fatal(claims, err)
	}
	for _, c := range claims {
		want := map[webhook.WebhookID]int{plain: 1, rotated: 2}[c.Webhook]
		if c.Fault != nil || len(c.Secrets) != want {
			t.Errorf("claim with the new key only: %d secrets, %v, want %d", len(c.Secrets), c.Fault, want)
		}
	}
}

func TestRekey_goesOnWhereItWasStopped(t *testing.T) {
	t.Parallel()
	const webhooks = 230 // more than two batches
	b := setupManage(t)
	for range webhooks {
		b.webhook(t, "acme", "*")
	}
	ctx, stop := context.WithCancel(t.Context())
	first, err := postgres.NewRekey(b.db, keyring(t, newKey, oldKey)).Run(ctx, false, func(postgres.Rekeyed) { stop() })
	if !errors.Is(err, context.Canceled) || first.Webhooks == 0 || first.Webhooks >= webhooks {
		t.Fatalf("stopped: %+v, %v", first, err)
	}
	var told []int
	second, err := postgres.NewRekey(b.db, keyring(t, newKey, oldKey)).Run(t.Context(), false, func(done postgres.Rekeyed) {
		told = append(told, done.Webhooks)
	})
	if err != nil || first.Webhooks+second.Webhooks != webhooks {
		t.Errorf("%d and then %d, %v, want %d in all", first.Webhooks, second.Webhooks, err, webhooks)
	}
	if len(told) < 2 || told[0] >= second.Webhooks {
		t.Errorf("progress told: %v", told)
	}
}

func TestRekey_whatDoesNotOpenStopsNobody(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	good := b.create(t, newWebhook(t, "acme", "*"))
	lost, moved := b.create(t, newWebhook(t, "acme", "*")), b.create(t, newWebhook(t, "acme", "*"))
	sealed, err := postgres.SealSecret(keyring(t, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="), "acme", lost, secret(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE webhooks SET secrets_sealed = ARRAY[$2] WHERE id = $1`, lost.UUID(), sealed)
	b.exec(t, `UPDATE webhooks SET secrets_sealed = (SELECT secrets_sealed FROM webhooks WHERE id = $2) WHERE id = $1`, moved.UUID(), good.UUID())
	done := rekey(t, b, keyring(t, newKey, oldKey), false)
	if done.Webhooks != 1 || done.Failed != 2 || len(done.Faults) != 2 {
		t.Fatalf("done = %+v, want one done and two that do not open", done)
	}
	for _, want := range []struct {
		id  webhook.WebhookID
		err error
	}{{lost, seal.ErrUnknownKey}, {moved, seal.ErrTampered}} {
		if !errors.Is(faultOf(done.Faults, want.id), want.err) {
			t.Errorf("faults = %v, want %v of %s", done.Faults, want.err, want.id)
		}
	}
	if _, err := postgres.NewRekey(b.db, seal.Keyring{}).Run(t.Context(), false, nil); err == nil {
		t.Error("an empty keyring sealed")
	}
}

func faultOf(faults []error, id webhook.WebhookID) error {
	for _, fault := range faults {
		if strings.Contains(fault.Error(), id.String()) {
			return fault
		}
	}
	return nil
}

// crossing changes webhooks between a Rekey's reading and its writing.
type crossing struct {
	seal.Keyring
	cross func()
}

func (c crossing) Seal(plaintext []byte, aad ...string) (string, error) {
	c.cross()
	return c.Keyring.Seal(plaintext, aad...)
}

func TestRekey_losesNoChangeThatCrossesIt(t *testing.T) {
	t.Parallel()
	both := keyring(t, newKey, oldKey)
	hours := func(n int) time.Time { return nowMs().Add(time.Duration(n) * time.Hour) }
	for name, tc := range map[string]struct {
		// by a process that seals with the new key, or with the old one still.
		by    seal.Keyring
		cross func(ctx context.Context, hooks *postgres.Webhooks, id webhook.WebhookID, s webhook.Secret) error
		check func(c webhook.Claim) bool
	}{
		"rotation": {both, rotate(hours(1)), func(c webhook.Claim) bool {
			return len(c.Secrets) == 2 && c.Secrets[0].Secret.Key()[0] == 9 && c.Headers[0].Value == "Bearer abc"
		}},
		"rotation by an old process": {keyring(t, oldKey, newKey), rotate(hours(1)), func(c webhook.Claim) bool {
			return len(c.Secrets) == 2 && c.Secrets[0].Secret.Key()[0] == 9
		}},
		"rotation without grace": {both, rotate(hours(-1)), func(c webhook.Claim) bool {
			return len(c.Secrets) == 1 && c.Secrets[0].Secret.Key()[0] == 9
		}},
		"update": {both, setHeader("Bearer xyz"), func(c webhook.Claim) bool {
			return len(c.Secrets) == 1 && c.Headers[0].Value == "Bearer xyz"
		}},
		"headers taken away": {both, setHeader(""), func(c webhook.Claim) bool { return len(c.Headers) == 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupManage(t)
			id := b.create(t, withHeader(t, newWebhook(t, "acme", "*")))
			once := sync.OnceFunc(func() {
				if err := tc.cross(t.Context(), postgres.NewWebhooks(b.db, tc.by), id, secret(t, 9)); err != nil {
					t.Error(err)
				}
			})
			rekey(t, b, crossing{both, once}, false)
			_, owed := b.accept(t, b.submission(t, "acme", 1))
			claims, err := postgres.NewWork(b.db, keyring(t, newKey), window, time.Now).Claim(t.Context(), ids(owed), "h")
			if err != nil || len(claims) != 1 || claims[0].Fault != nil || !tc.check(claims[0]) {
				t.Errorf("claims = %+v, %v", claims, err)
			}
		})
	}
}

func rotate(until time.Time) func(context.Context, *postgres.Webhooks, webhook.WebhookID, webhook.Secret) error {
	return func(ctx context.Context, hooks *postgres.Webhooks, id webhook.WebhookID, s webhook.Secret) error {
		_, err := hooks.Rotate(ctx, "acme", id, s, nowMs(), until)
		return err
	}
}

func setHeader(value string) func(context.Context, *postgres.Webhooks, webhook.WebhookID, webhook.Secret) error {
	return func(ctx context.Context, hooks *postgres.Webhooks, id webhook.WebhookID, _ webhook.Secret) error {
		_, err := hooks.Update(ctx, "acme", id, nowMs(), func(w webhook.Webhook) (webhook.Webhook, error) {
			w.Headers = nil
			if value != "" {
				w.Headers = []webhook.Header{{Name: "Authorization", Value: value}}
			}
			return w, nil
		})
		return err
	}
}

// A worker keeps what it read of a webhook by the row's version; a row that was
// sealed anew is another version.
func TestRekey_workersReadAgain(t *testing.T) {
	t.Parallel()
	b := setupManage(t)
	b.create(t, newWebhook(t, "acme", "*"))
	work := postgres.NewWork(b.db, keyring(t, newKey, oldKey), window, time.Now)
	claim := func() webhook.Claim {
		t.Helper()
		_, owed := b.accept(t, b.submission(t, "acme", 1))
		claims, err := work.Claim(t.Context(), ids(owed), "h")
		if err != nil || len(claims) != 1 || claims[0].Fault != nil {
			t.Fatal(claims, err)
		}
		return claims[0]
	}
	before := claim()
	rekey(t, b, keyring(t, newKey, oldKey), false)
	if after := claim(); after.Secrets[0].Secret.Reveal() != before.Secrets[0].Secret.Reveal() {
		t.Error("sealing anew changed the secret")
	}
}
