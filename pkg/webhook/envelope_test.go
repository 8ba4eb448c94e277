package webhook_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestNewEvent_Body(t *testing.T) {
	t.Parallel()
	id := webhook.NewEventID(instant, [10]byte{1})
	const start = `{"id":"evt_01a207d9217b71008000000000000000","type":"opportunity.stage_changed","apiVersion":"2026-11-01","timestamp":`
	for name, tc := range map[string]struct {
		change func(*webhook.NewEvent)
		want   string
	}{
		"least": {
			func(*webhook.NewEvent) {},
			`"2026-11-23T10:00:00.123Z","tenantId":"acme","correlationId":null,"data":{"objectType":"opportunity","objectId":"opp_1","object":{},"previous":{},"changedFields":[]}}`,
		},
		"everything": {
			func(e *webhook.NewEvent) {
				e.OccurredAt = time.Date(2026, 11, 22, 23, 59, 59, 999_999_999, time.FixedZone("", -3600))
				e.CorrelationID = "req-1"
				e.Object = []byte(" {\n\t\"stage\" : \"B\", \"amount\": 1.50e3 , \"n\": 12345678901234567890 }\r\n")
				e.Previous = []byte(`{"stage" : "A", "amount": null, "a": {"b": [1, 2]}}`)
			},
			`"2026-11-23T00:59:59.999Z","tenantId":"acme","correlationId":"req-1","data":{"objectType":"opportunity","objectId":"opp_1",` +
				`"object":{"stage":"B","amount":1.50e3,"n":12345678901234567890},"previous":{"stage":"A","amount":null,"a":{"b":[1,2]}},"changedFields":["a","amount","stage"]}}`,
		},
		"text is escaped, HTML is not": {
			func(e *webhook.NewEvent) {
				e.ObjectID, e.CorrelationID, e.Tenant = `<a href="x">&\`, "größe", "t&t"
				e.Object = []byte(`{"html":"<b>&amp;</b>","nul":"\u0000","u":"\u00e9é","sep":"  x"}`)
				e.Previous = []byte(`{"<&>":1,"\u0061":2,"q\"":3}`)
			},
			`"2026-11-23T10:00:00.123Z","tenantId":"t&t","correlationId":"größe","data":{"objectType":"opportunity","objectId":"<a href=\"x\">&\\",` +
				`"object":{"html":"<b>&amp;</b>","nul":"\u0000","u":"\u00e9é","sep":"  x"},"previous":{"<&>":1,"\u0061":2,"q\"":3},"changedFields":["<&>","a","q\""]}}`,
		},
		"repeated keys pass through": {
			func(e *webhook.NewEvent) {
				e.Object = []byte(`{"a":1,"a":2}`)
				e.Previous = []byte(`{"a":1,"a":2}`)
			},
			`"2026-11-23T10:00:00.123Z","tenantId":"acme","correlationId":null,"data":{"objectType":"opportunity","objectId":"opp_1","object":{"a":1,"a":2},"previous":{"a":1,"a":2},"changedFields":["a"]}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := validEvent(t)
			tc.change(&e)
			got, err := e.Body(id, instant)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(start+tc.want, got); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			if !json.Valid([]byte(got)) {
				t.Error("the body is not JSON")
			}
		})
	}
}

func validEvent(t testing.TB) webhook.NewEvent {
	return webhook.NewEvent{
		Tenant: "acme", Type: eventType(t, "opportunity.stage_changed"), ObjectType: "opportunity", ObjectID: "opp_1", Object: []byte(`{}`),
	}
}

// TestI8_equalEventsGiveEqualBytes: nothing in a body depends on map order or chance.
func TestI8_equalEventsGiveEqualBytes(t *testing.T) {
	t.Parallel()
	e := validEvent(t)
	e.Previous = []byte(`{"h":1,"g":1,"f":1,"e":1,"d":1,"c":1,"b":1,"a":1}`)
	id := webhook.NewEventID(instant, [10]byte{1})
	first, err := e.Body(id, instant)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if again, err := e.Body(id, instant); err != nil || again != first {
			t.Fatalf("body became %s, %v, want %s", again, err, first)
		}
	}
}

func TestNewEvent_Body_refusesWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", "null", "[]", `"x"`, "1", "{", "{} {}", `{"a":}`, "{\"a\":\"\xff\"}", "{\"a\":\"\x00\"}"} {
		e := validEvent(t)
		e.Object = []byte(raw)
		if got, err := e.Body(webhook.EventID{}, instant); err == nil {
			t.Errorf("object %q gives the body %s", raw, got)
		}
		e = validEvent(t)
		e.Previous = []byte(raw)
		if got, err := e.Body(webhook.EventID{}, instant); err == nil {
			t.Errorf("previous %q gives the body %s", raw, got)
		}
	}
}

func TestEventDraft_Parse(t *testing.T) {
	t.Parallel()
	builtIn := eventType(t, "lead.created")
	got, err := webhook.EventDraft{
		Event: &builtIn, ObjectID: "1", Object: []byte(`{}`), Previous: []byte(" null "), OccurredAt: &instant,
		IdempotencyKey: ptr("k"), CorrelationID: ptr("c"), TraceParent: "00-x",
	}.Parse("acme")
	want := webhook.NewEvent{
		Tenant: "acme", Type: builtIn, ObjectType: "lead", ObjectID: "1", Object: []byte(`{}`), OccurredAt: instant,
		IdempotencyKey: "k", CorrelationID: "c", TraceParent: "00-x",
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, byName()); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	if err := got.Validate(); err != nil {
		t.Errorf("what Parse made is not valid: %v", err)
	}

	custom, err := webhook.EventDraft{CustomEvent: ptr("invoice.paid"), ObjectID: "1", Object: []byte(`{}`)}.Parse("acme")
	if err != nil || custom.Type.String() != "invoice.paid" || custom.ObjectType != "invoice" {
		t.Errorf("custom event = %+v, %v", custom, err)
	}
}

func TestEventDraft_Parse_refuses(t *testing.T) {
	t.Parallel()
	builtIn, custom := eventType(t, "lead.created"), eventType(t, "invoice.paid")
	object := func(n int) json.RawMessage {
		return json.RawMessage(`{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}`)
	}
	for name, tc := range map[string]struct {
		change func(*webhook.EventDraft)
		want   []string
	}{
		"both types":           {func(d *webhook.EventDraft) { d.CustomEvent = ptr("invoice.paid") }, []string{"invalid event"}},
		"no type":              {func(d *webhook.EventDraft) { d.Event = nil }, []string{"invalid event"}},
		"not built in":         {func(d *webhook.EventDraft) { d.Event = &custom }, []string{"invalid event"}},
		"reserved type":        {func(d *webhook.EventDraft) { d.Event, d.CustomEvent = nil, ptr("webhook.test") }, []string{"invalid customEvent"}},
		"empty type":           {func(d *webhook.EventDraft) { d.Event, d.CustomEvent = nil, ptr("") }, []string{"invalid customEvent"}},
		"no object id":         {func(d *webhook.EventDraft) { d.ObjectID = "" }, []string{"invalid objectId"}},
		"object id of 255":     {func(d *webhook.EventDraft) { d.ObjectID = strings.Repeat("é", 255) }, nil},
		"object id of 256":     {func(d *webhook.EventDraft) { d.ObjectID = strings.Repeat("é", 256) }, []string{"invalid objectId"}},
		"NUL in object id":     {func(d *webhook.EventDraft) { d.ObjectID = "a\x00" }, []string{"invalid objectId"}},
		"object id not UTF-8":  {func(d *webhook.EventDraft) { d.ObjectID = "a\xff" }, []string{"invalid objectId"}},
		"object is a list":     {func(d *webhook.EventDraft) { d.Object = []byte(`[1]`) }, []string{"invalid object"}},
		"object is a text":     {func(d *webhook.EventDraft) { d.Object = []byte(`"{}"`) }, []string{"invalid object"}},
		"object is null":       {func(d *webhook.EventDraft) { d.Object = []byte(`null`) }, []string{"invalid object"}},
		"no object":            {func(d *webhook.EventDraft) { d.Object = nil }, []string{"invalid object"}},
		"object not UTF-8":     {func(d *webhook.EventDraft) { d.Object = []byte("{\"a\":\"\xff\"}") }, []string{"invalid object"}},
		"previous is a list":   {func(d *webhook.EventDraft) { d.Previous = []byte(`[]`) }, []string{"invalid previous"}},
		"escaped NUL":          {func(d *webhook.EventDraft) { d.Object = []byte(`{"a":"\u0000"}`) }, nil},
		"object of 256 KiB":    {func(d *webhook.EventDraft) { d.Object = object(256 << 10) }, nil},
		"one byte more":        {func(d *webhook.EventDraft) { d.Object = object(256<<10 + 1) }, []string{"limit exceeded object"}},
		"with previous":        {func(d *webhook.EventDraft) { d.Object, d.Previous = object(200<<10), object(56<<10+1) }, []string{"limit exceeded object"}},
		"empty key":            {func(d *webhook.EventDraft) { d.IdempotencyKey = ptr("") }, []string{"invalid idempotencyKey"}},
		"key of 255":           {func(d *webhook.EventDraft) { d.IdempotencyKey = ptr(strings.Repeat("k", 255)) }, nil},
		"key of 256":           {func(d *webhook.EventDraft) { d.IdempotencyKey = ptr(strings.Repeat("k", 256)) }, []string{"invalid idempotencyKey"}},
		"key with line break":  {func(d *webhook.EventDraft) { d.IdempotencyKey = ptr("a\nb") }, []string{"invalid idempotencyKey"}},
		"key with joiner":      {func(d *webhook.EventDraft) { d.IdempotencyKey = ptr("a\u200bb") }, []string{"invalid idempotencyKey"}},
		"key of spaces":        {func(d *webhook.EventDraft) { d.IdempotencyKey = ptr("  ") }, []string{"invalid idempotencyKey"}},
		"key ending in space":  {func(d *webhook.EventDraft) { d.IdempotencyKey = ptr("a ") }, []string{"invalid idempotencyKey"}},
		"empty correlation id": {func(d *webhook.EventDraft) { d.CorrelationID = ptr("") }, []string{"invalid correlationId"}},
		"long correlation id":  {func(d *webhook.EventDraft) { d.CorrelationID = ptr(strings.Repeat("c", 256)) }, []string{"invalid correlationId"}},
		"before 1970":          {func(d *webhook.EventDraft) { d.OccurredAt = &time.Time{} }, []string{"invalid occurredAt"}},
		"after 9999": {
			func(d *webhook.EventDraft) {
				d.OccurredAt = ptr(time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -7200)))
			}, []string{"invalid occurredAt"},
		},
		"all at once": {
			func(d *webhook.EventDraft) {
				*d = webhook.EventDraft{OccurredAt: &time.Time{}, IdempotencyKey: ptr(""), CorrelationID: ptr(""), Previous: []byte(`1`)}
			},
			[]string{
				"invalid event", "invalid occurredAt", "invalid idempotencyKey", "invalid correlationId", "invalid objectId", "invalid object", "invalid previous",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draft := webhook.EventDraft{Event: &builtIn, ObjectID: "1", Object: []byte(`{}`)}
			tc.change(&draft)
			_, err := draft.Parse("acme")
			if diff := cmp.Diff(tc.want, fields(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewEvent_Validate(t *testing.T) {
	t.Parallel()
	if err := validEvent(t).Validate(); err != nil {
		t.Errorf("a valid event is refused: %v", err)
	}
	bad := webhook.NewEvent{OccurredAt: time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC), IdempotencyKey: "\n", CorrelationID: "\n", Previous: []byte(`[]`)}
	want := []string{
		"invalid event", "invalid occurredAt", "invalid idempotencyKey", "invalid correlationId", "invalid objectId", "invalid object", "invalid previous",
	}
	if diff := cmp.Diff(want, fields(t, bad.Validate())); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func BenchmarkNewEvent_Body(b *testing.B) {
	e := validEvent(b)
	e.Object = []byte(`{"id":"opp_1","text":"` + strings.Repeat("x", 900) + `"}`)
	e.Previous = []byte(`{"stage":"A","amount":1}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Body(webhook.EventID{}, instant); err != nil {
			b.Fatal(err)
		}
	}
}
