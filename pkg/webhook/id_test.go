package webhook_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

//nolint:gochecknoglobals // a constant of a type that has none
var instant = time.Date(2026, time.November, 23, 10, 0, 0, 123_000_000, time.UTC)

func TestID_roundTrips(t *testing.T) {
	t.Parallel()
	random := [10]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	const hexDigits = "01a207d9217b7102830405060708090a"
	const canonical = "01a207d9-217b-7102-8304-05060708090a"

	w := webhook.NewWebhookID(instant, random)
	if got, want := w.String(), "whk_"+hexDigits; got != want {
		t.Errorf("webhook id = %s, want %s", got, want)
	}
	if got, err := webhook.ParseWebhookID(w.String()); err != nil || got != w {
		t.Errorf("parsed webhook id = %v, %v, want %v", got, err, w)
	}
	if got, err := webhook.WebhookIDFromUUID(canonical); err != nil || got != w || got.UUID() != canonical {
		t.Errorf("webhook id from UUID = %v, %v, want %v", got, err, w)
	}

	e := webhook.NewEventID(instant, random)
	if got, want := e.String(), "evt_"+hexDigits; got != want {
		t.Errorf("event id = %s, want %s", got, want)
	}
	if got, err := webhook.ParseEventID(e.String()); err != nil || got != e {
		t.Errorf("parsed event id = %v, %v, want %v", got, err, e)
	}
	if got, err := webhook.EventIDFromUUID(canonical); err != nil || got != e || got.UUID() != canonical {
		t.Errorf("event id from UUID = %v, %v, want %v", got, err, e)
	}
	if got := e.Time(); !got.Equal(instant) {
		t.Errorf("event time = %v, want %v", got, instant)
	}

	d := webhook.DeliveryIDFor(e, w)
	if got, err := webhook.ParseDeliveryID(d.String()); err != nil || got != d {
		t.Errorf("parsed delivery id = %v, %v, want %v", got, err, d)
	}
	if got, err := webhook.DeliveryIDFromUUID(d.UUID()); err != nil || got != d {
		t.Errorf("delivery id from UUID = %v, %v, want %v", got, err, d)
	}
}

func TestParseID_refuses(t *testing.T) {
	t.Parallel()
	const digits = "0192f0c1d2e37a4b8c5d6e7f80912a3b"
	for name, text := range map[string]string{
		"empty":             "",
		"prefix only":       "whk_",
		"no prefix":         digits,
		"another kind":      "evt_" + digits,
		"upper-case prefix": "WHK_" + digits,
		"upper-case digits": "whk_" + strings.ToUpper(digits),
		"too short":         "whk_" + digits[1:],
		"too long":          "whk_" + digits + "0",
		"not hexadecimal":   "whk_g" + digits[1:],
		"canonical":         "whk_0192f0c1-d2e3-7a4b-8c5d-6e7f80912a3b",
		"NUL":               "whk_\x00" + digits[1:],
		"space before":      " whk_" + digits,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := webhook.ParseWebhookID(text)
			if want := []string{"invalid id"}; !slices.Equal(fields(t, err), want) {
				t.Errorf("faults of %q = %v, want %v", text, fields(t, err), want)
			}
			if !got.IsZero() {
				t.Errorf("id of %q = %v, want zero", text, got)
			}
		})
	}
}

func TestIDFromUUID_refuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"",
		"0192f0c1d2e37a4b8c5d6e7f80912a3b",
		"0192f0c1-d2e3-7a4b-8c5d-6e7f80912a3",
		"0192f0c1-d2e3-7a4b-8c5d-6e7f80912a3bb",
		"0192f0c1-d2e3-7a4b-8c5d-6e7f80912a3g",
		"0192f0c1-d2e3-7a4b-8c5d-6e7f8--12a3b", // 30 digits: half a UUID
		"0192f0c1+d2e3-7a4b-8c5d-6e7f80912a3b",
	} {
		if got, err := webhook.WebhookIDFromUUID(text); err == nil || !got.IsZero() {
			t.Errorf("id from %q = %v, %v, want zero and an error", text, got, err)
		}
	}
}

func TestDeliveryIDFor_isDerived(t *testing.T) {
	t.Parallel()
	e := webhook.NewEventID(instant, [10]byte{1})
	otherEvent := webhook.NewEventID(instant, [10]byte{2})
	w := webhook.NewWebhookID(instant, [10]byte{3})
	otherWebhook := webhook.NewWebhookID(instant, [10]byte{4})

	d := webhook.DeliveryIDFor(e, w)
	if again := webhook.DeliveryIDFor(e, w); again != d {
		t.Errorf("second derivation = %v, want %v", again, d)
	}
	if d == webhook.DeliveryIDFor(otherEvent, w) || d == webhook.DeliveryIDFor(e, otherWebhook) {
		t.Error("another event or webhook has the same delivery id")
	}
	if !d.Time().Equal(e.Time()) {
		t.Errorf("delivery time = %v, want its event's, %v", d.Time(), e.Time())
	}
	if version, variant := d.UUID()[14], d.UUID()[19]; version != '7' || !strings.ContainsRune("89ab", rune(variant)) {
		t.Errorf("%s is no UUIDv7", d.UUID())
	}
}

func TestID_sortsByTime(t *testing.T) {
	t.Parallel()
	early := webhook.NewEventID(instant, [10]byte{255, 255})
	late := webhook.NewEventID(instant.Add(time.Millisecond), [10]byte{})
	if early.UUID() >= late.UUID() {
		t.Errorf("%s does not sort before %s", early.UUID(), late.UUID())
	}
	floor := webhook.TimeFloorUUID(instant.Add(time.Millisecond))
	if floor <= early.UUID() || floor > late.UUID() {
		t.Errorf("floor %s does not lie between %s and %s", floor, early.UUID(), late.UUID())
	}
}

func TestTimeFloorUUID_beforeIDsBegan(t *testing.T) {
	t.Parallel()
	const want = "00000000-0000-0000-0000-000000000000"
	for _, at := range []time.Time{{}, time.UnixMilli(-1), time.UnixMilli(0)} {
		if got := webhook.TimeFloorUUID(at); got != want {
			t.Errorf("floor of %v = %s, want %s", at, got, want)
		}
	}
}

func TestWebhookID_Hash_isEven(t *testing.T) {
	t.Parallel()
	const buckets, perBucket = 8, 1000
	counts := make([]int, buckets)
	for i := range buckets * perBucket {
		counts[webhook.NewWebhookID(instant, [10]byte{8: byte(i >> 8), 9: byte(i)}).Hash(buckets)]++
	}
	for bucket, n := range counts {
		if n < perBucket*9/10 || n > perBucket*11/10 {
			t.Errorf("bucket %d has %d ids, want about %d", bucket, n, perBucket)
		}
	}
}

func TestParseTenantID(t *testing.T) {
	t.Parallel()
	for text, valid := range map[string]bool{
		"acme": true, "A.b_c:d-9": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a/b": false, "ä": false, "a\x00": false, "a\n": false,
	} {
		got, err := webhook.ParseTenantID(text)
		if (err == nil) != valid || valid && string(got) != text {
			t.Errorf("tenant of %q = %q, %v, want valid: %t", text, got, err, valid)
		}
	}
}
