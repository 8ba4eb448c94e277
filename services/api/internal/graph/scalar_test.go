package graph_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// exact is JSON that decoders like to change: large and precise numbers, key
// order, duplicate looking keys, escapes.
const exact = `{"b":12345678901234567890,"a":1.10,"e":1E400,"z":-0,"s":"<&> \u0041 \ud83d\ude00","n":null,"l":[1.0,{"k":2.50}],"object":{"previous":3.30}}`

// TestJSON_reachesTheUseCaseUnchanged sends the same value in every way in which
// a client can.
func TestJSON_reachesTheUseCaseUnchanged(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ document, variables string }{
		"the whole input": {
			`mutation($input: DispatchEventInput!) { dispatchEvent(input: $input) { eventId userErrors { message } } }`,
			`{"input": {"event": "LEAD_CREATED", "objectId": "1", "object": ` + exact + `, "previous": ` + exact + `}}`,
		},
		"the object alone": {
			`mutation($o: JSON!, $p: JSON) { dispatchEvent(input: {event: LEAD_CREATED, objectId: "1", object: $o, previous: $p}) { eventId userErrors { message } } }`,
			`{"o": ` + exact + `, "p": ` + exact + `}`,
		},
		"a list of inputs": {
			`mutation($inputs: [DispatchEventInput!]!) { dispatchEvents(inputs: $inputs) { eventIds userErrors { message } } }`,
			`{"inputs": [{"event": "LEAD_CREATED", "objectId": "1", "object": ` + exact + `, "previous": ` + exact + `}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			got := runAs(t, f, tc.document, tc.variables)
			if len(got.Errors) > 0 || len(f.accepted) != 1 {
				t.Fatalf("accepted %v, answer %v", f.accepted, got)
			}
			if o := string(f.accepted[0].Object); o != exact {
				t.Errorf("object = %s, want %s", o, exact)
			}
			if p := string(f.accepted[0].Previous); p != exact {
				t.Errorf("previous = %s, want %s", p, exact)
			}
		})
	}
}

func TestJSON_literalsKeepTheirNumbers(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]string{
		`{}`: `{}`,
		`{a: 1, b: -2, c: "x", d: true, e: null, f: [1, [2]], g: {h: 3}}`: `{"a":1,"b":-2,"c":"x","d":true,"e":null,"f":[1,[2]],"g":{"h":3}}`,
		`{big: 12345678901234567890, neg: -12345678901234567890}`:         `{"big":12345678901234567890,"neg":-12345678901234567890}`,
		`{f: 1.10, e: [1.0e5, 1E400], z: -0}`:                             `{"e":[1.0e5,1E400],"f":1.10,"z":-0}`,
		`{edge: 9223372036854775807, over: 9223372036854775808}`:          `{"edge":9223372036854775807,"over":9223372036854775808}`,
		`{s: "1.10", t: "<\u00e9>", u: """1.20 {"""}`:                     `{"s":"1.10","t":"<é>","u":"1.20 {"}`,
		`{a: 1.50 # 2.50 }` + "\n" + `, b: 2.50}`:                         `{"a":1.50,"b":2.50}`,
		`{deep: $v, f: 1.10}`:                                             `{"deep":[1.10],"f":1.10}`,
	} {
		variable, variables := "", ""
		if strings.Contains(literal, "$v") {
			variable, variables = "($v: JSON)", `{"v": [1.10]}`
		}
		f := &fake{}
		got := runAs(t, f, `mutation`+variable+` { dispatchEvent(input: {event: LEAD_CREATED, objectId: 7, object: `+literal+`}) { eventId userErrors { message } } }`, variables)
		if len(f.accepted) != 1 {
			t.Errorf("%s: answer %v", literal, got)
			continue
		}
		if o := string(f.accepted[0].Object); o != want {
			t.Errorf("%s: object = %s, want %s", literal, o, want)
		}
	}
}

func TestJSON_comesBackUnchanged(t *testing.T) {
	t.Parallel()
	f, ours, _ := tenants()
	f.payloads[ours.EventID] = exact
	resp := newSchema(t, f).Exec(as(t, acme, "ADMIN"), withIDs(`{ webhookDelivery(id: "$delivery") { payload } }`, ours), "", nil)
	want := strings.NewReplacer("<", `\u003c`, "&", `\u0026`, ">", `\u003e`).Replace(exact)
	if got := string(resp.Data); got != `{"webhookDelivery":{"payload":`+want+`}}` {
		t.Errorf("data = %s", got)
	}
}

func TestTime(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"2026-11-23T10:00:00Z":             "2026-11-23T10:00:00Z",
		"2026-11-23T10:00:00.123456+01:00": "2026-11-23T09:00:00.123456Z",
		"2026-11-23":                       "",
		"yesterday":                        "",
		"":                                 "",
	} {
		f := &fake{}
		got := runAs(t, f, `query($t: Time) { webhookStats(since: $t) { total } }`, `{"t": "`+in+`"}`)
		literal := runAs(t, &fake{}, `{ webhookStats(since: "`+in+`") { total } }`, "")
		if want == "" {
			if got.code(t) != "BAD_USER_INPUT" || !strings.Contains(got.Errors[0].Message, "variables.t must be an RFC 3339 timestamp") {
				t.Errorf("%q: %v", in, got.Errors)
			}
			if literal.code(t) != "BAD_USER_INPUT" || literal.Data != nil {
				t.Errorf("%q as a literal: %v", in, literal)
			}
			continue
		}
		if since := f.period.Since.UTC().Format("2006-01-02T15:04:05.999999Z"); since != want {
			t.Errorf("%q: since = %s, want %s", in, since, want)
		}
	}
	f := &fake{hooks: webhooks(acme, 0, 1)}
	got := runAs(t, f, `{ webhooks { nodes { createdAt } } }`, "")
	if at := got.at(t, "webhooks.nodes.0.createdAt"); at != "2026-11-23T12:00:00.000Z" {
		t.Errorf("createdAt = %v", at)
	}
}

// TestVariables_badOnesEndTheRequest: nothing is done, whichever mutation of the
// document they belong to.
func TestVariables_badOnesEndTheRequest(t *testing.T) {
	t.Parallel()
	const create = `mutation($id: ID!, $input: CreateWebhookInput!) { deleteWebhook(id: $id) { deletedId } createWebhook(input: $input) { secret } }`
	const dispatch = `mutation($input: DispatchEventInput!) { dispatchEvent(input: $input) { eventId } }`
	const list = `query($n: Int, $status: [WebhookStatus!], $yes: Boolean!) { webhooks(first: $n, filter: {status: $status}) { nodes @include(if: $yes) { id } } }`
	for name, tc := range map[string]struct{ document, variables, want string }{
		"string for Int":        {create, `{"id": "x", "input": {"name": "n", "url": "u", "maxAttempts": "3"}}`, "variables.input.maxAttempts must be an Int"},
		"fraction for Int":      {create, `{"id": "x", "input": {"name": "n", "url": "u", "timeoutMs": 1.5}}`, "variables.input.timeoutMs must be an Int"},
		"too large for Int":     {list, `{"n": 2147483648, "yes": true}`, "variables.n must be an Int"},
		"number for String":     {create, `{"id": "x", "input": {"name": 5, "url": "u"}}`, "variables.input.name must be a String"},
		"object for ID":         {create, `{"id": {}, "input": {"name": "n", "url": "u"}}`, "variables.id must be an ID"},
		"in a list":             {create, `{"id": "x", "input": {"name": "n", "url": "u", "headers": [{"name": "a", "value": "b"}, {"name": "a", "value": 1}]}}`, "variables.input.headers.1.value must be a String"},
		"null for required":     {create, `{"id": null, "input": {"name": "n", "url": "u"}}`, "null"},
		"required is absent":    {create, `{"id": "x", "input": {"name": "n"}}`, "null"},
		"unknown field":         {create, `{"id": "x", "input": {"name": "n", "url": "u", "colour": "red"}}`, `"colour" is not defined`},
		"unknown enum value":    {dispatch, `{"input": {"event": "LEAD_LOST", "objectId": "1", "object": {}}}`, "LEAD_LOST"},
		"enum in a list":        {list, `{"status": ["ACTIVE", "GONE"], "yes": true}`, "GONE"},
		"number for enum":       {dispatch, `{"input": {"event": 1, "objectId": "1", "object": {}}}`, "WebhookEvent"},
		"wrong case of enum":    {list, `{"status": ["active"], "yes": true}`, "active"},
		"list for input":        {dispatch, `{"input": []}`, "input"},
		"string for Boolean":    {list, `{"yes": "true"}`, "variables.yes must be a Boolean"},
		"bad time":              {dispatch, `{"input": {"event": "LEAD_CREATED", "objectId": "1", "object": {}, "occurredAt": "soon"}}`, "variables.input.occurredAt must be an RFC 3339 timestamp"},
		"object that is null":   {dispatch, `{"input": {"event": "LEAD_CREATED", "objectId": "1", "object": null}}`, "null"},
		"object that is absent": {dispatch, `{"input": {"event": "LEAD_CREATED", "objectId": "1"}}`, "null"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{}
			got := runAs(t, f, tc.document, tc.variables)
			if code := got.code(t); code != "BAD_USER_INPUT" || !strings.Contains(got.Errors[0].Message, tc.want) {
				t.Errorf("errors = %v, want BAD_USER_INPUT with %q", got.Errors, tc.want)
			}
			if len(f.calls) > 0 || got.Data != nil {
				t.Errorf("calls = %v, data = %v, want neither", f.calls, got.Data)
			}
		})
	}
}

func TestVariables_numbersFitWhateverTheirSpelling(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 5)}
	for _, n := range []string{"2", "2.0", "2e0"} {
		got := runAs(t, f, `query($n: Int = 3) { webhooks(first: $n) { nodes { id } } }`, `{"n": `+n+`}`)
		if nodes, _ := got.at(t, "webhooks.nodes").([]any); len(nodes) != 2 {
			t.Errorf("%s: %v", n, got)
		}
	}
	// A transport that decodes by itself is served, too.
	for _, n := range []any{2, int32(2), int64(2), 2.0, json.Number("2")} {
		resp := newSchema(t, f).Exec(as(t, acme, "ADMIN"), `query($n: Int) { webhooks(first: $n) { totalCount } }`, "", map[string]any{"n": n})
		if len(resp.Errors) > 0 {
			t.Errorf("%T: %v", n, resp.Errors)
		}
	}
}

func TestDispatchEvent_integerObjectID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{`48213`, `"48213"`} {
		f := &fake{}
		runAs(t, f, `mutation($input: DispatchEventInput!) { dispatchEvent(input: $input) { eventId } }`, `{"input": {"event": "LEAD_CREATED", "objectId": `+id+`, "object": {}}}`)
		if len(f.accepted) != 1 || f.accepted[0].ObjectID != "48213" {
			t.Errorf("%s: accepted %v", id, f.accepted)
		}
	}
}
