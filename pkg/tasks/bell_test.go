package tasks

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestBell_roundTrip(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 10, 0, 0, 123_000_000, time.UTC)
	for name, b := range map[string]Bell{
		"plain":     {Deliveries: deliveries(1)},
		"shared":    {Deliveries: deliveries(MaxBellSize), Tenant: "acme", EventType: "lead.created", Attempt: 1},
		"own":       {Deliveries: deliveries(1), Tenant: "acme", Attempt: 2, NotBefore: at, LastError: "HTTP 500", Own: true},
		"mixed":     {Deliveries: deliveries(3), Tenants: []webhook.TenantID{"acme", "other", "acme"}},
		"exhausted": {Deliveries: deliveries(1), Attempt: 3, LastError: "HTTP 500", Own: true, Exhausted: true},
	} {
		data, err := b.encode()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := DecodeBell(data)
		if err != nil {
			t.Errorf("%s: decoding %s: %v", name, data, err)
			continue
		}
		if diff := cmp.Diff(b, got, equalIDs()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDecodeBell_toleratesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	b, err := DecodeBell([]byte(`{"deliveries":["` + deliveries(1)[0].String() + `"],"colour":"red","nested":{"a":[1]}}`))
	if err != nil || len(b.Deliveries) != 1 {
		t.Fatalf("got %+v, %v", b, err)
	}
}

func TestDecodeBell_refusesGarbage(t *testing.T) {
	t.Parallel()
	id := deliveries(1)[0].String()
	for name, data := range map[string]string{
		"nothing":             ``,
		"not JSON":            "\x00\xff",
		"not an object":       `[]`,
		"null":                `null`,
		"no deliveries":       `{}`,
		"empty deliveries":    `{"deliveries":[]}`,
		"wrong kind of id":    `{"deliveries":["` + strings.Replace(id, "dlv_", "evt_", 1) + `"]}`,
		"short id":            `{"deliveries":["dlv_12"]}`,
		"ids of another type": `{"deliveries":[1]}`,
		"trailing data":       `{"deliveries":["` + id + `"]}{}`,
		"negative attempt":    `{"deliveries":["` + id + `"],"attempt":-1}`,
		"own for two":         `{"deliveries":["` + id + `","` + id + `"],"own":true}`,
		"exhausted, not own":  `{"deliveries":["` + id + `"],"exhausted":true}`,
		"bad time":            `{"deliveries":["` + id + `"],"notBefore":"soon"}`,
		"tenant of nobody":    `{"deliveries":["` + id + `"],"tenants":["acme"],"of":[1]}`,
		"a tenant too many":   `{"deliveries":["` + id + `"],"tenants":["acme"],"of":[0,0]}`,
		"too many":            `{"deliveries":["` + strings.Repeat(id+`","`, MaxBellSize) + id + `"]}`,
	} {
		if b, err := DecodeBell([]byte(data)); err == nil {
			t.Errorf("%s: decoded to %+v", name, b)
		}
	}
}

func FuzzDecodeBell(f *testing.F) {
	id := deliveries(1)[0].String()
	f.Add([]byte(`{"deliveries":["` + id + `"],"tenant":"acme","type":"lead.created","attempt":2,"notBefore":"2026-11-23T10:00:00Z","lastError":"x","own":true}`))
	f.Add([]byte(`{"deliveries":["` + id + `"],"exhausted":true,"own":true}`))
	f.Add([]byte(`{"deliveries":["` + id + `","` + id + `"],"tenants":["acme","other"],"of":[1,0]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBell(data)
		if err != nil {
			return
		}
		again, err := b.encode()
		if err != nil {
			t.Fatalf("decoded from %q, but does not encode: %v", data, err)
		}
		if _, err := DecodeBell(again); err != nil {
			t.Fatalf("encoded to %q, but does not decode: %v", again, err)
		}
	})
}

func TestSafeText(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"HTTP 500":        "HTTP 500",
		"a\r\nb\x00c\x1b": "a  b c ",
		"bad \xff utf-8":  "bad \uFFFD utf-8",
	} {
		if got := safeText(in); got != want {
			t.Errorf("safeText(%q) = %q, want %q", in, got, want)
		}
	}
	if got := safeText(strings.Repeat("ü", 1000)); utf8.RuneCountInString(got) != maxErrorRunes || !utf8.ValidString(got) {
		t.Errorf("long text became %q", got)
	}
}

func TestPack(t *testing.T) {
	t.Parallel()
	ids := deliveries(70)
	var due []Due
	for i, id := range ids {
		d := Due{Queue: "deliver-1", Delivery: id, Tenant: "acme", EventType: "lead.created", Attempt: 1}
		if i == 3 {
			d.Queue, d.Attempt = "deliver-0", 2
		}
		if i == 69 {
			d.Tenant, d.EventType, d.Attempt = "other", "lead.updated", 5
		}
		due = append(due, d)
	}
	got := Pack(due, 0)
	rest := append(append([]webhook.DeliveryID{}, ids[:3]...), ids[4:]...)
	want := []Bell{
		{Queue: "deliver-0", Deliveries: ids[3:4], Tenant: "acme", EventType: "lead.created", Attempt: 2},
		{Queue: "deliver-1", Deliveries: rest[:64], Tenant: "acme", EventType: "lead.created", Attempt: 1},
		{Queue: "deliver-1", Deliveries: rest[64:], Tenants: []webhook.TenantID{"acme", "acme", "acme", "acme", "other"}}, // mixed
	}
	if diff := cmp.Diff(want, got, equalIDs()); diff != "" {
		t.Errorf("Pack (-want +got):\n%s", diff)
	}
	if n := len(Pack(due, 10)); n != 1+7 {
		t.Errorf("Pack(10) made %d bells, want 8", n)
	}
}

func equalIDs() cmp.Option {
	return cmp.Comparer(func(a, b webhook.DeliveryID) bool { return a == b })
}

// deliveries makes n distinct ids, the same ones on every call.
func deliveries(n int) []webhook.DeliveryID {
	out := make([]webhook.DeliveryID, n)
	for i := range out {
		e := webhook.NewEventID(time.UnixMilli(1_700_000_000_000), [10]byte{8: byte(i >> 8), 9: byte(i)})
		out[i] = webhook.DeliveryIDFor(e, webhook.WebhookID{})
	}
	return out
}
