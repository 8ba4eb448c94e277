package webhook_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestParseEventType(t *testing.T) {
	t.Parallel()
	for text, valid := range map[string]bool{
		"lead.created": true, "invoice": true, "a": true, "0": true, "_": true, "a.b.c.d": true, "x_1.y_2": true,
		strings.Repeat("a", 128): true,
		"":                       false, ".": false, "a.": false, ".a": false, "a..b": false, "A": false, "lead.Created": false, "a-b": false,
		"a b": false, "lead.*": false, "*": false, "a\n": false, "a\x00": false, "é": false, "ａ": false, strings.Repeat("a", 129): false,
	} {
		got, err := webhook.ParseEventType(text)
		if (err == nil) != valid {
			t.Errorf("type %q: error %v, want valid: %t", text, err, valid)
		}
		if valid && got.String() != text {
			t.Errorf("type %q reads %q", text, got)
		}
		if !valid && !slices.Equal(fields(t, err), []string{"invalid eventType"}) {
			t.Errorf("type %q: faults %v", text, fields(t, err))
		}
	}
}

func TestParseCustomEventType(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"invoice.paid":       "",
		"lead.scored":        "",
		"webhooks.x":         "",
		"webhook":            "",
		"lead.created":       "invalid customEvent: must not be a built-in type; dispatch it as event LEAD_CREATED",
		"webhook.test":       "invalid customEvent: must not start with webhook., which is reserved",
		"delivery.failed":    "invalid customEvent: must not start with delivery., which is reserved",
		"Invoice.Paid":       "invalid customEvent: must be lower-case words of a-z, 0-9 and _, separated by dots, such as invoice.paid",
		"invoice.*":          "invalid customEvent: must be lower-case words of a-z, 0-9 and _, separated by dots, such as invoice.paid",
		"":                   "invalid customEvent: must be lower-case words of a-z, 0-9 and _, separated by dots, such as invoice.paid",
		longText("a.b", 129): "invalid customEvent: must have at most 128 characters",
	} {
		got, err := webhook.ParseCustomEventType(text)
		if fault := strings.Join(faults(t, err), "; "); fault != want {
			t.Errorf("custom type %q: %q, want %q", text, fault, want)
		}
		if err == nil && got.String() != text {
			t.Errorf("custom type %q reads %q", text, got)
		}
	}
}

func longText(start string, n int) string { return start + strings.Repeat("x", n-len(start)) }

func TestParsePattern(t *testing.T) {
	t.Parallel()
	for text, valid := range map[string]bool{
		"*": true, "lead.*": true, "a.b.*": true, "invoice.paid": true, longText("a", 126) + ".*": true,
		"": false, ".*": false, "**": false, "*.*": false, "*.created": false, "lead.*.x": false, "lead.*.*": false, "lead*": false,
		"lead.": false, "Lead.*": false, "lead. *": false, " *": false, longText("a", 127) + ".*": false, longText("a", 129): false,
	} {
		got, err := webhook.ParsePattern(text)
		if (err == nil) != valid {
			t.Errorf("pattern %q: error %v, want valid: %t", text, err, valid)
		}
		if valid && got.String() != text {
			t.Errorf("pattern %q reads %q", text, got)
		}
	}
}

func TestPattern_Matches(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, typ string
		want         bool
	}{
		{"*", "lead.created", true},
		{"*", "invoice", true},
		{"lead.*", "lead.created", true},
		{"lead.*", "lead.created.twice", true},
		{"lead.*", "lead", false},
		{"lead.*", "leads.created", false},
		{"lead.*", "leadership.created", false},
		{"a.b.*", "a.b.c", true},
		{"a.b.*", "a.bc.d", false},
		{"lead.created", "lead.created", true},
		{"lead.created", "lead.created.twice", false},
		{"lead", "lead.created", false},
		{"*", "webhook.disabled", false},
		{"*", "delivery.exhausted", false},
		{"webhook.*", "webhook.disabled", true},
		{"delivery.*", "delivery.exhausted", true},
		{"webhook.disabled", "webhook.disabled", true},
		{"*", "webhook", true},
	} {
		if got := pattern(t, tc.pattern).Matches(eventType(t, tc.typ)); got != tc.want {
			t.Errorf("%s matches %s: %t, want %t", tc.pattern, tc.typ, got, tc.want)
		}
	}
}

func TestEventType_Candidates(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string][]string{
		"invoice":      {"invoice", "*"},
		"lead.created": {"lead.created", "*", "lead.*"},
		"a.b.c":        {"a.b.c", "*", "a.*", "a.b.*"},
		// Who subscribes to everything did not ask for these.
		"webhook.failing":    {"webhook.failing", "webhook.*"},
		"delivery.exhausted": {"delivery.exhausted", "delivery.*"},
	} {
		if diff := cmp.Diff(want, texts(eventType(t, typ).Candidates())); diff != "" {
			t.Errorf("candidates of %s (-want +got):\n%s", typ, diff)
		}
	}
}

// Looking candidates up finds exactly the patterns that match.
func TestEventType_Candidates_agreeWithMatches(t *testing.T) {
	t.Parallel()
	types := []string{"webhook.failing", "delivery.exhausted", "webhook", "a", "b", "a.a", "a.b", "b.a", "a.a.a", "a.a.b", "a.b.a", "aa.a", "a.aa"}
	patterns := []string{"*", "webhook.*", "delivery.*", "a.*", "b.*", "a.a.*", "a.b.*", "aa.*", "a.a.a.*"}
	patterns = append(patterns, types...)
	for _, typ := range types {
		candidates := texts(eventType(t, typ).Candidates())
		for _, p := range patterns {
			if found, matches := slices.Contains(candidates, p), pattern(t, p).Matches(eventType(t, typ)); found != matches {
				t.Errorf("%s, %s: among the candidates %t, matches %t", typ, p, found, matches)
			}
		}
	}
}

func TestEventType_ObjectType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{"opportunity.stage_changed": "opportunity", "invoice": "invoice", "a.b.c": "a"} {
		if got := eventType(t, typ).ObjectType(); got != want {
			t.Errorf("object of %s = %s, want %s", typ, got, want)
		}
	}
}

func TestNewEvent_Fingerprint(t *testing.T) {
	t.Parallel()
	base := func() webhook.NewEvent {
		return webhook.NewEvent{
			Type: eventType(t, "lead.created"), ObjectID: "1", Object: []byte(`{"a":1}`), Previous: []byte(`{}`),
			OccurredAt: instant, CorrelationID: "c", IdempotencyKey: "k",
		}
	}
	same := map[string]func(*webhook.NewEvent){
		"nothing": func(*webhook.NewEvent) {},
		"trace":   func(e *webhook.NewEvent) { e.TraceParent = "00-x" },
		"zone":    func(e *webhook.NewEvent) { e.OccurredAt = instant.Local() },
	}
	other := map[string]func(*webhook.NewEvent){
		"type":        func(e *webhook.NewEvent) { e.Type = eventType(t, "lead.updated") },
		"object id":   func(e *webhook.NewEvent) { e.ObjectID = "2" },
		"object":      func(e *webhook.NewEvent) { e.Object = []byte(`{"a":2}`) },
		"previous":    func(e *webhook.NewEvent) { e.Previous = nil },
		"time":        func(e *webhook.NewEvent) { e.OccurredAt = instant.Add(1) },
		"correlation": func(e *webhook.NewEvent) { e.CorrelationID = "" },
		"boundary":    func(e *webhook.NewEvent) { e.ObjectID, e.Object = `1{"a"`, []byte(`:1}`) },
	}
	want := base().Fingerprint()
	for name, change := range same {
		e := base()
		change(&e)
		if e.Fingerprint() != want {
			t.Errorf("%s changed the fingerprint", name)
		}
	}
	for name, change := range other {
		e := base()
		change(&e)
		if e.Fingerprint() == want {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
}
