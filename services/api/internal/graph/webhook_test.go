package graph_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

const everyWebhookField = `id name description url events eventPatterns headers { name value } status statusReason
	maxAttempts timeoutMs initialBackoffMs apiVersion createdBy createdAt updatedAt`

func TestCreateWebhook_showsWhatWasMade(t *testing.T) {
	t.Parallel()
	f := &fake{}
	got := runAs(t, f, `mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { secret userErrors { code } webhook { `+everyWebhookField+` } } }`,
		`{"input": {"name": " Orders ", "url": "https://EXAMPLE.com:443/x", "events": ["LEAD_CREATED", "OPPORTUNITY_WON"], "eventPatterns": ["invoice.*"],
		  "headers": [{"name": "Authorization", "value": "Bearer top secret"}, {"name": "X-Team", "value": "blue"}], "maxAttempts": 5}}`)
	if len(got.Errors) > 0 {
		t.Fatal(got.Errors)
	}
	want := map[string]any{
		"secret": aSecret, "userErrors": []any{},
		"webhook": map[string]any{
			"id": hookID(900).String(), "name": "Orders", "description": nil, "url": "https://example.com/x",
			"events": []any{"LEAD_CREATED", "OPPORTUNITY_WON"}, "eventPatterns": []any{"invoice.*"},
			"headers": []any{map[string]any{"name": "Authorization", "value": "********"}, map[string]any{"name": "X-Team", "value": "blue"}},
			"status":  "ACTIVE", "statusReason": nil, "maxAttempts": 5.0, "timeoutMs": 5000.0, "initialBackoffMs": 5000.0,
			"apiVersion": "2026-11-01", "createdBy": "ann", "createdAt": "2026-11-23T12:00:00.000Z", "updatedAt": "2026-11-23T12:00:00.000Z",
		},
	}
	if diff := cmp.Diff(want, got.at(t, "createWebhook")); diff != "" {
		t.Errorf("createWebhook (-want +got):\n%s", diff)
	}
	if f.by != "ann" || f.secret != "" {
		t.Errorf("by = %q, secret = %q", f.by, f.secret)
	}
}

// shownErrors makes userErrors easy to compare: path code: message.
func shownErrors(t *testing.T, a answer, path string) []string {
	t.Helper()
	list, _ := a.at(t, path).([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		fields, _ := e.(map[string]any)
		var field []string
		parts, _ := fields["field"].([]any)
		for _, part := range parts {
			field = append(field, is[string](t, part))
		}
		out = append(out, fmt.Sprintf("%s %s: %s", strings.Join(field, "/"), fields["code"], fields["message"]))
	}
	return out
}

func TestCreateWebhook_namesEveryFault(t *testing.T) {
	t.Parallel()
	f := &fake{}
	got := runAs(t, f, `mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { webhook { id } secret userErrors { message field code } } }`,
		`{"input": {"name": "", "url": "ftp://x", "events": [], "headers": [{"name": "X-A", "value": "1"}, {"name": "Host", "value": "a"}],
		  "secret": "", "maxAttempts": 21, "timeoutMs": 1, "initialBackoffMs": 0}}`)
	if len(got.Errors) > 0 {
		t.Fatal(got.Errors)
	}
	if got.at(t, "createWebhook.webhook") != nil || got.at(t, "createWebhook.secret") != nil || len(f.calls) > 0 {
		t.Errorf("refused, yet %v and called %v", got.Data, f.calls)
	}
	want := []string{
		"input/name INVALID: input.name must have 1 to 100 characters",
		"input/url INVALID: input.url must",
		"input/events INVALID: input.events must not be empty while eventPatterns is empty, too",
		"input/headers/1/name INVALID: input.headers.1.name must",
		"input/maxAttempts INVALID: input.maxAttempts must be between 1 and 20",
		"input/timeoutMs INVALID: input.timeoutMs must be between 500 and 30000",
		"input/initialBackoffMs INVALID: input.initialBackoffMs must be between 10 and 43200000 (12 hours)",
		"input/secret INVALID: input.secret must start with whsec_",
	}
	shown := shownErrors(t, got, "createWebhook.userErrors")
	if len(shown) != len(want) {
		t.Fatalf("userErrors = %q, want %q", shown, want)
	}
	for i := range want {
		if !strings.HasPrefix(shown[i], want[i]) {
			t.Errorf("userErrors[%d] = %q, want %q", i, shown[i], want[i])
		}
	}
}

func TestCreateWebhook_limitHasNoField(t *testing.T) {
	t.Parallel()
	f := &fake{err: webhook.LimitExceeded("", "a tenant can have at most 100 webhooks")}
	got := runAs(t, f, `mutation { createWebhook(input: {name: "n", url: "https://example.com", eventPatterns: ["*"]}) { userErrors { message field code } } }`, "")
	want := []string{" LIMIT_EXCEEDED: a tenant can have at most 100 webhooks"}
	if diff := cmp.Diff(want, shownErrors(t, got, "createWebhook.userErrors")); diff != "" {
		t.Error(diff)
	}
}

// TestSecrets_appearNowhereElse (I7): a secret or a header's value that the
// caller sent is in no error and in no log.
func TestSecrets_appearNowhereElse(t *testing.T) {
	t.Parallel()
	const leak = "c2VjcmV0LXRoYXQtbXVzdC1ub3QtbGVhaw"
	for _, input := range []string{
		`{"name": "n", "url": "https://example.com", "eventPatterns": ["*"], "secret": "whsec_` + leak + `"}`,
		`{"name": "n", "url": "https://user:` + leak + `@example.com", "eventPatterns": ["*"]}`,
		`{"name": "n", "url": "https://example.com", "eventPatterns": ["*"], "headers": [{"name": "Authorization", "value": "` + leak + `\n"}]}`,
		`{"name": "n", "url": "https://example.com", "eventPatterns": ["*"], "secret": ["` + leak + `"]}`,
		`{"name": "n", "url": "https://example.com", "eventPatterns": ["*"], "headers": ["` + leak + `"]}`,
		`{"name": "n", "url": "https://example.com", "eventPatterns": ["*"], "headers": {"` + leak + `": 1}}`,
	} {
		s, log := logged(t, &fake{})
		got := run(t, as(t, acme, token.Admin), s, `mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { secret userErrors { message field } } }`, `{"input": `+input+`}`)
		if strings.Contains(log.String(), leak) {
			t.Errorf("%s: log has it: %s", input, log)
		}
		if !strings.Contains(fmt.Sprint(got), "must") && len(got.Errors) == 0 {
			t.Errorf("%s: no error: %v", input, got)
		}
	}
}

func TestUpdateWebhook_changesWhatIsGiven(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 1)}
	id := f.hooks[0].ID.String()
	f.hooks[0].Patterns = []webhook.Pattern{webhook.PatternOf(webhook.TestEventType)}
	got := runAs(t, f, `mutation($id: ID!, $input: UpdateWebhookInput!) { updateWebhook(id: $id, input: $input) { webhook { status statusReason description events } userErrors { message } } }`,
		`{"id": "`+id+`", "input": {"description": "d", "status": "PAUSED", "events": ["LEAD_CREATED"], "name": null}}`)
	want := map[string]any{
		"webhook":    map[string]any{"status": "PAUSED", "statusReason": "paused by ann", "description": "d", "events": []any{"LEAD_CREATED"}},
		"userErrors": []any{},
	}
	if diff := cmp.Diff(want, got.at(t, "updateWebhook")); diff != "" {
		t.Errorf("%s %v", diff, got.Errors)
	}
	if c := f.change; c.Name != nil || c.URL != nil || c.Patterns != nil || c.Headers != nil || c.MaxAttempts != nil || c.By != "ann" {
		t.Errorf("change = %+v, want only what was given", c)
	}
	got = runAs(t, f, `mutation { updateWebhook(id: "`+id+`", input: {status: DISABLED, events: [], eventPatterns: []}) { webhook { id } userErrors { message field code } } }`, "")
	wantErrors := []string{
		"input/events INVALID: input.events must not be empty while eventPatterns is empty, too",
		"input/status INVALID: input.status must be ACTIVE or PAUSED",
	}
	if diff := cmp.Diff(wantErrors, shownErrors(t, got, "updateWebhook.userErrors")); diff != "" {
		t.Error(diff)
	}
}

func TestDeleteWebhook(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 1)}
	got := runAs(t, f, `mutation { deleteWebhook(id: "`+f.hooks[0].ID.String()+`") { deletedId userErrors { code } } }`, "")
	if id := got.at(t, "deleteWebhook.deletedId"); id != f.hooks[0].ID.String() {
		t.Errorf("deletedId = %v", id)
	}
	got = runAs(t, f, `mutation { deleteWebhook(id: "whk_1") { deletedId userErrors { message field code } } }`, "")
	if diff := cmp.Diff([]string{"id NOT_FOUND: id names no webhook of this tenant"}, shownErrors(t, got, "deleteWebhook.userErrors")); diff != "" {
		t.Error(diff)
	}
}

func TestRotateWebhookSecret_grace(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]time.Duration{
		``: 24 * time.Hour, `, graceSeconds: null`: 24 * time.Hour, `, graceSeconds: 0`: 0, `, graceSeconds: 604800`: 7 * 24 * time.Hour,
		`, graceSeconds: -1`: -1, `, graceSeconds: 604801`: -1,
	} {
		f := &fake{hooks: webhooks(acme, 0, 1), grace: -1}
		got := runAs(t, f, `mutation { rotateWebhookSecret(id: "`+f.hooks[0].ID.String()+`"`+args+`) { secret previousSecretExpiresAt webhook { id } userErrors { message field code } } }`, "")
		if f.grace != want {
			t.Errorf("%q: grace = %v, want %v; %v", args, f.grace, want, got.Errors)
		}
		if want >= 0 {
			if got.at(t, "rotateWebhookSecret.secret") != aSecret || got.at(t, "rotateWebhookSecret.previousSecretExpiresAt") != now().Add(want).Format("2006-01-02T15:04:05.000Z") {
				t.Errorf("%q: %v", args, got.Data)
			}
			continue
		}
		if diff := cmp.Diff([]string{"graceSeconds INVALID: graceSeconds must be between 0 and 604800 (7 days)"}, shownErrors(t, got, "rotateWebhookSecret.userErrors")); diff != "" {
			t.Error(diff)
		}
	}
}

// TestTestWebhook_failureIsAResult: a receiver that fails is no error of the
// caller's, nor of ours.
func TestTestWebhook_failureIsAResult(t *testing.T) {
	t.Parallel()
	const fields = `{ success responseStatus durationMs error delivery { id status } userErrors { code } }`
	for name, tc := range map[string]struct {
		result manage.TestResult
		want   map[string]any
	}{
		"accepted":  {manage.TestResult{Success: true, ResponseStatus: 204, Duration: 42 * time.Millisecond}, map[string]any{"success": true, "responseStatus": 204.0, "durationMs": 42.0, "error": nil}},
		"refused":   {manage.TestResult{ResponseStatus: 500, Duration: time.Millisecond, Error: "answered 500"}, map[string]any{"success": false, "responseStatus": 500.0, "durationMs": 1.0, "error": "answered 500"}},
		"no answer": {manage.TestResult{Error: "no worker took it"}, map[string]any{"success": false, "responseStatus": nil, "durationMs": nil, "error": "no worker took it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, ours, _ := tenants()
			f.result = tc.result
			f.result.Delivery = ours
			got := runAs(t, f, withIDs(`mutation { testWebhook(id: "$hook", event: OPPORTUNITY_WON) `+fields+` }`, ours), "")
			tc.want["userErrors"] = []any{}
			tc.want["delivery"] = map[string]any{"id": ours.ID.String(), "status": "FAILED"}
			if diff := cmp.Diff(tc.want, got.at(t, "testWebhook")); diff != "" {
				t.Errorf("%s %v", diff, got.Errors)
			}
			if f.tested == nil || f.tested.Enum != "OPPORTUNITY_WON" {
				t.Errorf("tested = %v", f.tested)
			}
		})
	}
}

func TestWebhooks_filter(t *testing.T) {
	t.Parallel()
	f := &fake{}
	got := runAs(t, f, `{ webhooks(filter: {status: [ACTIVE, DISABLED], event: LEAD_CREATED, search: "Ord"}) { totalCount nodes { id } } }`, "")
	if len(got.Errors) > 0 {
		t.Fatal(got.Errors)
	}
	if f.filter.Event.String() != "lead.created" || f.filter.Search != "Ord" || fmt.Sprint(f.filter.Statuses) != "[active disabled]" {
		t.Errorf("filter = %+v", f.filter)
	}
}

func TestViewer(t *testing.T) {
	t.Parallel()
	got := run(t, as(t, acme, token.Manager), newSchema(t, &fake{}), `{ viewer { subject tenantId role permissions } }`, "")
	want := map[string]any{
		"subject": "ann", "tenantId": "acme", "role": "MANAGER",
		"permissions": []any{"WEBHOOK_READ", "WEBHOOK_CREATE", "WEBHOOK_UPDATE", "WEBHOOK_TEST"},
	}
	if diff := cmp.Diff(want, got.at(t, "viewer")); diff != "" {
		t.Error(diff)
	}
}
