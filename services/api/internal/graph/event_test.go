package graph_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	dispatchOne  = `mutation($input: DispatchEventInput!) { dispatchEvent(input: $input) { eventId deliveryCount duplicate userErrors { message field code } } }`
	dispatchMany = `mutation($inputs: [DispatchEventInput!]!) { dispatchEvents(inputs: $inputs) { eventIds deliveryCount userErrors { message field code } } }`
)

func TestDispatchEvent_handsTheEventOver(t *testing.T) {
	t.Parallel()
	f := &fake{}
	ctx := obs.ChildSpan(as(t, acme, token.Service))
	got := run(t, ctx, newSchema(t, f), dispatchOne, `{"input": {"event": "OPPORTUNITY_STAGE_CHANGED", "objectId": "opp_1", "object": {"stage": "won"},
		"previous": {"stage": "open"}, "occurredAt": "2026-11-23T11:00:00+01:00", "idempotencyKey": "k", "correlationId": "c"}}`)
	want := map[string]any{"eventId": eventID(0).String(), "deliveryCount": 1.0, "duplicate": false, "userErrors": []any{}}
	if diff := cmp.Diff(want, got.at(t, "dispatchEvent")); diff != "" {
		t.Fatalf("%s %v", diff, got.Errors)
	}
	e := f.accepted[0]
	if e.Tenant != acme || e.Type.String() != "opportunity.stage_changed" || e.ObjectType != "opportunity" || e.ObjectID != "opp_1" ||
		e.IdempotencyKey != "k" || e.CorrelationID != "c" || e.OccurredAt.UTC().Hour() != 10 {
		t.Errorf("event = %+v", e)
	}
	if e.TraceParent == "" || e.TraceParent != obs.TraceParent(ctx) {
		t.Errorf("traceparent = %q, want that of the request", e.TraceParent)
	}
}

func TestDispatchEvent_customType(t *testing.T) {
	t.Parallel()
	f := &fake{}
	runAs(t, f, dispatchOne, `{"input": {"customEvent": "invoice.paid", "objectId": "i", "object": {}, "previous": null}}`)
	if len(f.accepted) != 1 || f.accepted[0].Type.String() != "invoice.paid" || f.accepted[0].ObjectType != "invoice" || f.accepted[0].Previous != nil {
		t.Errorf("accepted = %+v", f.accepted)
	}
}

func TestDispatchEvent_userErrors(t *testing.T) {
	t.Parallel()
	for input, want := range map[string][]string{
		`{"objectId": "1", "object": {}}`:                                                {"input/event INVALID: input.event must be given, or customEvent, and not both"},
		`{"event": "LEAD_CREATED", "customEvent": "a.b", "objectId": "1", "object": {}}`: {"input/event INVALID: input.event must be given, or customEvent, and not both"},
		`{"customEvent": "Lead", "objectId": "1", "object": {}}`: {
			"input/customEvent INVALID: input.customEvent must be lower-case words of a-z, 0-9 and _, separated by dots, such as invoice.paid"},
		`{"customEvent": "lead.created", "objectId": "1", "object": {}}`: {
			"input/customEvent INVALID: input.customEvent must not be a built-in type; dispatch it as event LEAD_CREATED"},
		`{"event": "WEBHOOK_DISABLED", "objectId": "1", "object": {}}`: {
			"input/event INVALID: input.event must not be WEBHOOK_DISABLED, which only the service itself sends"},
		`{"customEvent": "delivery.exhausted", "objectId": "1", "object": {}}`: {
			"input/customEvent INVALID: input.customEvent must not start with delivery., which is reserved"},
		`{"event": "LEAD_CREATED", "objectId": "", "object": [1], "previous": "x", "idempotencyKey": ""}`: {
			"input/idempotencyKey INVALID: input.idempotencyKey must have 1 to 255 printable characters",
			"input/objectId INVALID: input.objectId must have 1 to 255 printable characters",
			"input/object INVALID: input.object must be a JSON object",
			"input/previous INVALID: input.previous must be a JSON object"},
		`{"event": "LEAD_CREATED", "objectId": "a\u0000b", "object": {}}`: {"input/objectId INVALID: input.objectId must have 1 to 255 printable characters"},
		`{"event": "LEAD_CREATED", "objectId": "1", "object": {"a": "` + strings.Repeat("x", webhook.MaxEventBytes) + `"}}`: {
			"input/object LIMIT_EXCEEDED: input.object must have at most 262144 bytes together with previous"},
	} {
		f := &fake{}
		got := runAs(t, f, dispatchOne, `{"input": `+input+`}`)
		if len(got.Errors) > 0 {
			t.Errorf("%.100s: %v", input, got.Errors)
			continue
		}
		if diff := cmp.Diff(want, shownErrors(t, got, "dispatchEvent.userErrors")); diff != "" {
			t.Errorf("%.100s: %s", input, diff)
		}
		if len(f.calls) > 0 || got.at(t, "dispatchEvent.eventId") != nil || got.at(t, "dispatchEvent.deliveryCount") != nil {
			t.Errorf("%.100s: refused, yet %v, %v", input, f.calls, got.Data)
		}
	}
}

func TestDispatchEvents_allOrNone(t *testing.T) {
	t.Parallel()
	const good = `{"event": "LEAD_CREATED", "objectId": "1", "object": {}}`
	list := func(n int) string { return strings.TrimSuffix(strings.Repeat(good+",", n), ",") }
	for name, tc := range map[string]struct {
		inputs string
		want   []string
	}{
		"none":     {"", []string{"inputs INVALID: inputs must not be empty"}},
		"too many": {list(1001), []string{"inputs LIMIT_EXCEEDED: inputs must have at most 1000 entries"}},
		"two are bad": {
			list(3) + `,{"event": "LEAD_CREATED", "objectId": "", "object": {}},{"objectId": "1", "object": {}}`,
			[]string{
				"inputs/3/objectId INVALID: inputs.3.objectId must have 1 to 255 printable characters",
				"inputs/4/event INVALID: inputs.4.event must be given, or customEvent, and not both",
			},
		},
		"good ones": {list(1000), []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			got := runAs(t, f, dispatchMany, `{"inputs": [`+tc.inputs+`]}`)
			if diff := cmp.Diff(tc.want, shownErrors(t, got, "dispatchEvents.userErrors")); diff != "" {
				t.Errorf("%s %v", diff, got.Errors)
			}
			if ids, _ := got.at(t, "dispatchEvents.eventIds").([]any); len(ids) != len(f.accepted) || (len(ids) > 0) != (len(tc.want) == 0) {
				t.Errorf("%d ids for %d events", len(ids), len(f.accepted))
			}
		})
	}
}

func TestDispatchEvents_answerIsBounded(t *testing.T) {
	t.Parallel()
	inputs := strings.TrimSuffix(strings.Repeat(`{"objectId": "", "object": 1},`, 1000), ",")
	got := runAs(t, &fake{}, dispatchMany, `{"inputs": [`+inputs+`]}`)
	if n := len(shownErrors(t, got, "dispatchEvents.userErrors")); n < 100 || n > 110 {
		t.Errorf("%d userErrors, want about 100", n)
	}
}

// TestDispatch_pathsOfTheUseCase: its paths are relative to the list, and start
// with an index only when that has several events.
func TestDispatch_pathsOfTheUseCase(t *testing.T) {
	t.Parallel()
	const good = `{"event": "LEAD_CREATED", "objectId": "1", "object": {}}`
	conflict := webhook.Conflict("idempotencyKey", "must not be used again")
	one, many := error(conflict), error(webhook.Errors{conflict.Under("1")})
	for _, tc := range []struct {
		document, variables, path string
		err                       error
		want                      string
	}{
		{dispatchOne, `{"input": ` + good + `}`, "dispatchEvent", one, "input/idempotencyKey CONFLICT: input.idempotencyKey must not be used again"},
		{dispatchMany, `{"inputs": [` + good + `]}`, "dispatchEvents", one, "inputs/0/idempotencyKey CONFLICT: inputs.0.idempotencyKey must not be used again"},
		{dispatchMany, `{"inputs": [` + good + `,` + good + `]}`, "dispatchEvents", many, "inputs/1/idempotencyKey CONFLICT: inputs.1.idempotencyKey must not be used again"},
	} {
		got := runAs(t, &fake{err: tc.err}, tc.document, tc.variables)
		if diff := cmp.Diff([]string{tc.want}, shownErrors(t, got, tc.path+".userErrors")); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDispatchEvent_shortAnswerIsInternal(t *testing.T) {
	t.Parallel()
	f := &fake{forgets: true}
	got := runAs(t, f, dispatchOne, `{"input": {"event": "LEAD_CREATED", "objectId": "1", "object": {}}}`)
	if code := got.code(t); code != "INTERNAL" {
		t.Errorf("code = %q, want INTERNAL", code)
	}
}

func TestWebhookEvents_describesEveryType(t *testing.T) {
	t.Parallel()
	got := run(t, as(t, acme, token.Service), newSchema(t, &fake{}), `{ webhookEvents { event name object description examplePayload } }`, "")
	list, _ := got.at(t, "webhookEvents").([]any)
	if len(list) != len(webhook.Catalogue()) || len(got.Errors) > 0 {
		t.Fatalf("%d types, errors %v", len(list), got.Errors)
	}
	for i, entry := range webhook.Catalogue() {
		shown, _ := list[i].(map[string]any)
		payload, _ := shown["examplePayload"].(map[string]any)
		if shown["event"] != entry.Enum || shown["name"] != entry.Type.String() || shown["object"] != strings.ToUpper(entry.Object) || payload["type"] != shown["name"] {
			t.Errorf("type %d = %v, want %s", i, shown, entry.Enum)
		}
	}
}

func TestDispatch_callerWhoHangsUp(t *testing.T) {
	t.Parallel()
	f := &fake{err: webhook.Unavailable(context.Canceled)}
	got := runAs(t, f, dispatchOne, `{"input": {"event": "LEAD_CREATED", "objectId": "1", "object": {}}}`)
	if code := got.code(t); code != "UNAVAILABLE" {
		t.Errorf("code = %q, want UNAVAILABLE; %v", code, errors.New(fmt.Sprint(got)))
	}
}
