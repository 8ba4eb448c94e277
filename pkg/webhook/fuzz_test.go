package webhook_test

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// What Parse accepts is its own normal form and names no forbidden literal address.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b=c", "https://EXAMPLE.com:443/", "https://user:pw@example.com/#x", "https://127.1", "https://0x7f.1",
		"https://[::ffff:127.0.0.1]:8443", "https://[fe80::1%25lo]", "https://localhost.", "https://exam\x00ple", "//x", "https://%31", `https:\\x`,
		"https://8.8.8.8@127.0.0.1/", "https://017700000001", "https://[64:ff9b::7f00:1]", "https://\u2460.\uff10", "https://8.8.8.8.", "https://a:22", "https://a:0443",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		normal, err := webhook.URLRules{}.Parse(raw)
		if err != nil {
			if len(webhook.Faults(err)) != 1 {
				t.Fatalf("%q: error %v is no fault", raw, err)
			}
			return
		}
		again, err := webhook.URLRules{}.Parse(normal)
		if err != nil || again != normal {
			t.Fatalf("%q becomes %q becomes %q, %v", raw, normal, again, err)
		}
		u, err := url.Parse(normal)
		if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
			t.Fatalf("%q passed as %q: %+v, %v", raw, normal, u, err)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && !webhook.PublicAddress(addr) {
			t.Fatalf("%q passed with the address %s", raw, addr)
		}
		if last := u.Hostname()[strings.LastIndexByte(u.Hostname(), '.')+1:]; strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
			t.Fatalf("%q passed with a host that some take for an address", raw)
		}
		if port, err := strconv.Atoi(u.Port()); err == nil && webhook.ForbiddenPort(port) {
			t.Fatalf("%q passed with port %d", raw, port)
		}
	})
}

func FuzzHeader(f *testing.F) {
	for _, seed := range [][2]string{
		{"X-A", "b"}, {"Host", "x"}, {"X-A\r\n", "b"}, {"X-A", "b\r\nc"}, {"webhook_id", "1"}, {"X-A", "\xff"}, {"X-A", " b\t"}, {"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		got, err := webhook.ParseHeaders([]webhook.Header{{Name: name, Value: value}})
		if err != nil {
			if len(webhook.Faults(err)) == 0 {
				t.Fatalf("error %v is no fault", err)
			}
			return
		}
		if len(got) != 1 || got[0].Name != name || strings.ContainsAny(got[0].Name+got[0].Value, "\r\n\x00") || strings.ContainsAny(name, " :\t") {
			t.Fatalf("%q: %q passed as %v", name, value, got)
		}
		if again, err := webhook.ParseHeaders(got); err != nil || again[0] != got[0] {
			t.Fatalf("%v becomes %v, %v", got, again, err)
		}
	})
}

func FuzzEventType(f *testing.F) {
	for _, seed := range []string{"lead.created", "a", "a.b.c", "A", "a..b", "lead.*", "", "a\n", strings.Repeat("a.", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		typ, err := webhook.ParseEventType(text)
		if err != nil {
			if len(webhook.Faults(err)) != 1 {
				t.Fatalf("error %v is no fault", err)
			}
			return
		}
		if typ.String() != text || len(text) > 128 || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789_.") != "" {
			t.Fatalf("%q passed as %q", text, typ)
		}
		for _, p := range typ.Candidates() {
			if parsed, err := webhook.ParsePattern(p.String()); err != nil || parsed != p || !p.Matches(typ) {
				t.Fatalf("candidate %q of %q: %v, matches %t", p, typ, err, p.Matches(typ))
			}
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"*", "a"}, {"lead.*", "lead.created"}, {"lead.*", "leads.x"}, {"a", "a"}, {"*.a", "b.a"}, {"a.*.*", "a.b.c"}, {"", ""}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := webhook.ParsePattern(text)
		if err != nil {
			return
		}
		if p.String() != text {
			t.Fatalf("%q reads %q", text, p)
		}
		typ, err := webhook.ParseEventType(name)
		if err != nil {
			return
		}
		if found := slices.Contains(typ.Candidates(), p); found != p.Matches(typ) {
			t.Fatalf("%q, %q: among the candidates %t, matches %t", p, typ, found, p.Matches(typ))
		}
	})
}

// A secret reads back as it was written, and no error repeats it.
func FuzzSecret(f *testing.F) {
	for _, seed := range []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		secret, err := webhook.ParseSecret(text)
		if err != nil {
			if len(text) > len("whsec_")+8 && strings.Contains(err.Error(), strings.TrimPrefix(text, "whsec_")) {
				t.Fatalf("the error %q repeats the secret", err)
			}
			return
		}
		if again, err := webhook.ParseSecret(secret.Reveal()); err != nil || !slices.Equal(again.Key(), secret.Key()) {
			t.Fatalf("%q does not read back: %v", text, err)
		}
	})
}

func FuzzID(f *testing.F) {
	for _, seed := range []string{
		"whk_0192f0c1d2e37a4b8c5d6e7f80912a3b", "evt_0192f0c1d2e37a4b8c5d6e7f80912a3b", "dlv_", "0192f0c1-d2e3-7a4b-8c5d-6e7f80912a3b",
		"0192f0c1-d2e3-7a4b-8c5d-6e7f8--12a3b", "", "whk_0192F0C1d2e37a4b8c5d6e7f80912a3b",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := webhook.ParseTenantID(text); err == nil && (string(id) != text || strings.ContainsAny(text, "\x00\r\n")) {
			t.Fatalf("%q reads %q", text, id)
		}
		if id, err := webhook.ParseWebhookID(text); err == nil && id.String() != text {
			t.Fatalf("%q reads %q", text, id)
		}
		if id, err := webhook.ParseEventID(text); err == nil && id.String() != text {
			t.Fatalf("%q reads %q", text, id)
		}
		if id, err := webhook.ParseDeliveryID(text); err == nil && id.String() != text {
			t.Fatalf("%q reads %q", text, id)
		}
		if id, err := webhook.EventIDFromUUID(text); err == nil && !strings.EqualFold(id.UUID(), text) {
			t.Fatalf("%q reads %q", text, id.UUID())
		}
	})
}

// A body is JSON, has the caller's values, and compacting it changes nothing.
func FuzzBody(f *testing.F) {
	for _, seed := range [][4]string{
		{`{"a": 1}`, `{"a": 2}`, "1", "c"}, {`{}`, ``, "<&>\u2028", "\""}, {`{"a":"\u0000"}`, `{"\ud800":1}`, "é", ""}, {"{\"a\":\"\xff\"}", "{", "\x00", "\xff"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	f.Fuzz(func(t *testing.T, object, previous, objectID, correlationID string) {
		e := validEvent(t)
		e.Object, e.ObjectID, e.CorrelationID = json.RawMessage(object), objectID, correlationID
		if previous != "" {
			e.Previous = json.RawMessage(previous)
		}
		if err := e.Validate(); err != nil {
			if len(webhook.Faults(err)) == 0 {
				t.Fatalf("error %v is no fault", err)
			}
			return
		}
		body, err := e.Body(webhook.NewEventID(instant, [10]byte{}), instant)
		if err != nil {
			t.Fatalf("a valid event has no body: %v", err)
		}
		var got struct {
			CorrelationID string `json:"correlationId"`
			Data          struct {
				ObjectID string `json:"objectId"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.CorrelationID != correlationID || got.Data.ObjectID != objectID {
			t.Fatalf("body %s reads %+v, %v", body, got, err)
		}
	})
}
