package webhook_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// byName lets cmp look into the types that only a Parse function makes.
func byName() cmp.Options {
	return cmp.Options{
		cmp.Comparer(func(a, b webhook.EventType) bool { return a == b }),
		cmp.Comparer(func(a, b webhook.Pattern) bool { return a == b }),
		cmp.Comparer(func(a, b webhook.WebhookID) bool { return a == b }),
	}
}

func validDraft(t testing.TB) webhook.Draft {
	return webhook.Draft{
		Name: " ERP ", Description: "Orders\nand invoices ", URL: "https://EXAMPLE.com/hooks",
		Events: []webhook.EventType{eventType(t, "lead.created")}, Patterns: []string{"account.*", "invoice.paid"},
		Headers: []webhook.Header{{Name: "Authorization", Value: "Bearer x"}},
	}
}

func TestDraft_Parse(t *testing.T) {
	t.Parallel()
	got, err := validDraft(t).Parse(webhook.URLRules{})
	if err != nil {
		t.Fatal(err)
	}
	want := webhook.Settings{
		Name: "ERP", Description: "Orders\nand invoices", URL: "https://example.com/hooks",
		Events: []webhook.EventType{eventType(t, "lead.created")}, Patterns: []webhook.Pattern{pattern(t, "account.*"), pattern(t, "invoice.paid")},
		Headers: []webhook.Header{{Name: "Authorization", Value: "Bearer x"}}, Policy: webhook.DefaultPolicy(),
	}
	if diff := cmp.Diff(want, got, byName()); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}

	id := webhook.NewWebhookID(instant, [10]byte{1})
	created := got.Webhook(id, "acme", "usr_1", instant)
	wantWebhook := webhook.Webhook{
		ID: id, Tenant: "acme", Name: want.Name, Description: want.Description, URL: want.URL, Events: want.Events, Patterns: want.Patterns,
		Headers: want.Headers, Status: webhook.Active, Policy: want.Policy, APIVersion: "2026-11-01", CreatedBy: "usr_1", CreatedAt: instant, UpdatedAt: instant,
	}
	if diff := cmp.Diff(wantWebhook, created, byName()); diff != "" {
		t.Errorf("webhook (-want +got):\n%s", diff)
	}
}

func TestDraft_Parse_policy(t *testing.T) {
	t.Parallel()
	draft := validDraft(t)
	draft.PolicyDraft = webhook.PolicyDraft{MaxAttempts: ptr[int32](20), TimeoutMs: ptr[int32](500), InitialBackoffMs: ptr[int32](43_200_000)}
	got, err := draft.Parse(webhook.URLRules{})
	if err != nil {
		t.Fatal(err)
	}
	want := webhook.Policy{MaxAttempts: 20, Timeout: 500 * time.Millisecond, InitialBackoff: 12 * time.Hour}
	if got.Policy != want {
		t.Errorf("policy = %+v, want %+v", got.Policy, want)
	}
}

func TestDraft_Parse_refuses(t *testing.T) {
	t.Parallel()
	custom, created, deleted := eventType(t, "invoice.paid"), eventType(t, "lead.created"), eventType(t, "lead.deleted")
	many := make([]string, 101)
	for i := range many {
		many[i] = "custom.t" + strconv.Itoa(i)
	}
	for name, tc := range map[string]struct {
		change func(*webhook.Draft)
		want   []string
	}{
		"name empty":          {func(d *webhook.Draft) { d.Name = "" }, []string{"invalid name"}},
		"name blank":          {func(d *webhook.Draft) { d.Name = " \t\n" }, []string{"invalid name"}},
		"name of 100 runes":   {func(d *webhook.Draft) { d.Name = strings.Repeat("é", 100) }, nil},
		"name of 101":         {func(d *webhook.Draft) { d.Name = strings.Repeat("é", 101) }, []string{"invalid name"}},
		"NUL in name":         {func(d *webhook.Draft) { d.Name = "a\x00b" }, []string{"invalid name"}},
		"line break in name":  {func(d *webhook.Draft) { d.Name = "a\nb" }, []string{"invalid name"}},
		"name not UTF-8":      {func(d *webhook.Draft) { d.Name = "a\xff" }, []string{"invalid name"}},
		"no description":      {func(d *webhook.Draft) { d.Description = "" }, nil},
		"description of 1000": {func(d *webhook.Draft) { d.Description = strings.Repeat("é", 1000) }, nil},
		"description of 1001": {func(d *webhook.Draft) { d.Description = strings.Repeat("é", 1001) }, []string{"invalid description"}},
		"NUL in description":  {func(d *webhook.Draft) { d.Description = "\x00" }, []string{"invalid description"}},
		"escape sequence":     {func(d *webhook.Draft) { d.Description = "\x1b[2J" }, []string{"invalid description"}},
		"private URL":         {func(d *webhook.Draft) { d.URL = "https://10.0.0.1" }, []string{"invalid url"}},
		"nothing subscribed":  {func(d *webhook.Draft) { d.Events, d.Patterns = nil, []string{} }, []string{"invalid events"}},
		"events only":         {func(d *webhook.Draft) { d.Patterns = nil }, nil},
		"patterns only":       {func(d *webhook.Draft) { d.Events = nil }, nil},
		"custom among events": {func(d *webhook.Draft) { d.Events = []webhook.EventType{created, custom} }, []string{"invalid events.1"}},
		"zero among events":   {func(d *webhook.Draft) { d.Events = []webhook.EventType{{}} }, []string{"invalid events.0"}},
		"event twice":         {func(d *webhook.Draft) { d.Events = []webhook.EventType{created, deleted, created} }, []string{"invalid events.2"}},
		"bad patterns":        {func(d *webhook.Draft) { d.Patterns = []string{"", "lead.*", "Lead.*"} }, []string{"invalid eventPatterns.0", "invalid eventPatterns.2"}},
		"pattern twice":       {func(d *webhook.Draft) { d.Patterns = []string{"*", "lead.*", "*"} }, []string{"invalid eventPatterns.2"}},
		"built-in as pattern": {func(d *webhook.Draft) { d.Patterns = []string{"lead.created"} }, nil},
		"100 patterns":        {func(d *webhook.Draft) { d.Patterns = many[:100] }, nil},
		"101 patterns":        {func(d *webhook.Draft) { d.Patterns = many }, []string{"limit exceeded eventPatterns"}},
		"bad header":          {func(d *webhook.Draft) { d.Headers[0].Name = "Host" }, []string{"invalid headers.0.name"}},
		"numbers too low": {
			func(d *webhook.Draft) {
				d.PolicyDraft = webhook.PolicyDraft{MaxAttempts: ptr[int32](0), TimeoutMs: ptr[int32](499), InitialBackoffMs: ptr[int32](9)}
			},
			[]string{"invalid maxAttempts", "invalid timeoutMs", "invalid initialBackoffMs"},
		},
		"numbers beyond all": {
			func(d *webhook.Draft) {
				d.PolicyDraft = webhook.PolicyDraft{MaxAttempts: ptr[int32](-1 << 31), TimeoutMs: ptr[int32](1<<31 - 1), InitialBackoffMs: ptr[int32](1<<31 - 1)}
			},
			[]string{"invalid maxAttempts", "invalid timeoutMs", "invalid initialBackoffMs"},
		},
		"all at once": {
			func(d *webhook.Draft) {
				*d = webhook.Draft{
					Description: "\x00", Headers: []webhook.Header{{Name: "Host"}}, PolicyDraft: webhook.PolicyDraft{MaxAttempts: ptr[int32](21)},
				}
			},
			[]string{"invalid name", "invalid description", "invalid url", "invalid events", "invalid headers.0.name", "invalid maxAttempts"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			draft := validDraft(t)
			tc.change(&draft)
			_, err := draft.Parse(webhook.URLRules{})
			if diff := cmp.Diff(tc.want, fields(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func validWebhook(t testing.TB) webhook.Webhook {
	t.Helper()
	settings, err := validDraft(t).Parse(webhook.URLRules{})
	if err != nil {
		t.Fatal(err)
	}
	return settings.Webhook(webhook.NewWebhookID(instant, [10]byte{1}), "acme", "usr_1", instant)
}

func TestChange_Apply(t *testing.T) {
	t.Parallel()
	disabled := func(w *webhook.Webhook) { w.Status, w.StatusReason = webhook.Disabled, "410 Gone" }
	for name, tc := range map[string]struct {
		before func(*webhook.Webhook)
		change webhook.Change
		want   func(*webhook.Webhook)
	}{
		"nothing":           {nil, webhook.Change{}, func(*webhook.Webhook) {}},
		"name":              {nil, webhook.Change{Name: ptr(" New ")}, func(w *webhook.Webhook) { w.Name = "New" }},
		"description":       {nil, webhook.Change{Description: ptr("")}, func(w *webhook.Webhook) { w.Description = "" }},
		"url":               {nil, webhook.Change{URL: ptr("https://Example.com:443/b")}, func(w *webhook.Webhook) { w.URL = "https://example.com/b" }},
		"no events left":    {nil, webhook.Change{Events: &[]webhook.EventType{}}, func(w *webhook.Webhook) { w.Events = []webhook.EventType{} }},
		"no patterns left":  {nil, webhook.Change{Patterns: &[]string{}}, func(w *webhook.Webhook) { w.Patterns = []webhook.Pattern{} }},
		"patterns":          {nil, webhook.Change{Patterns: &[]string{"*"}}, func(w *webhook.Webhook) { w.Patterns = []webhook.Pattern{pattern(t, "*")} }},
		"no headers left":   {nil, webhook.Change{Headers: &[]webhook.Header{}}, func(w *webhook.Webhook) { w.Headers = []webhook.Header{} }},
		"policy":            {nil, webhook.Change{PolicyDraft: webhook.PolicyDraft{TimeoutMs: ptr[int32](900)}}, func(w *webhook.Webhook) { w.Policy.Timeout = 900 * time.Millisecond }},
		"pause":             {nil, webhook.Change{Status: ptr(webhook.Paused), By: "usr_2"}, func(w *webhook.Webhook) { w.Status, w.StatusReason = webhook.Paused, "paused by usr_2" }},
		"resume":            {disabled, webhook.Change{Status: ptr(webhook.Active)}, func(w *webhook.Webhook) { w.Status, w.StatusReason = webhook.Active, "" }},
		"pause disabled":    {disabled, webhook.Change{Status: ptr(webhook.Paused), By: "usr_2"}, func(w *webhook.Webhook) { w.Status, w.StatusReason = webhook.Paused, "paused by usr_2" }},
		"already active":    {nil, webhook.Change{Status: ptr(webhook.Active)}, func(*webhook.Webhook) {}},
		"keeps reason":      {disabled, webhook.Change{Name: ptr("New")}, func(w *webhook.Webhook) { w.Name = "New" }},
		"former rules hold": {func(w *webhook.Webhook) { w.URL = "https://10.0.0.1:x" }, webhook.Change{Name: ptr("New")}, func(w *webhook.Webhook) { w.Name = "New" }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := validWebhook(t)
			if tc.before != nil {
				tc.before(&before)
			}
			want := before
			tc.want(&want)
			got, err := tc.change.Apply(before, webhook.URLRules{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, byName()); diff != "" {
				t.Errorf("webhook (-want +got):\n%s", diff)
			}
		})
	}
}

func TestChange_Apply_refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change webhook.Change
		want   []string
	}{
		"empty name":         {webhook.Change{Name: ptr("")}, []string{"invalid name"}},
		"empty url":          {webhook.Change{URL: ptr("")}, []string{"invalid url"}},
		"nothing subscribed": {webhook.Change{Events: &[]webhook.EventType{}, Patterns: &[]string{}}, []string{"invalid events"}},
		"disabled by person": {webhook.Change{Status: ptr(webhook.Disabled)}, []string{"invalid status"}},
		"unknown status":     {webhook.Change{Status: ptr(webhook.Status("x"))}, []string{"invalid status"}},
		"several": {
			webhook.Change{Description: ptr("\x00"), Patterns: &[]string{"x", "x"}, Headers: &[]webhook.Header{{Name: "Host"}}, PolicyDraft: webhook.PolicyDraft{MaxAttempts: ptr[int32](0)}},
			[]string{"invalid description", "invalid eventPatterns.1", "invalid headers.0.name", "invalid maxAttempts"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := tc.change.Apply(validWebhook(t), webhook.URLRules{})
			if diff := cmp.Diff(tc.want, fields(t, err)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(webhook.Webhook{}, got, byName()); diff != "" {
				t.Errorf("something was done nevertheless (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWebhook_Subscriptions_haveNoRepeats(t *testing.T) {
	t.Parallel()
	w := webhook.Webhook{
		Events:   []webhook.EventType{eventType(t, "lead.created"), eventType(t, "lead.deleted")},
		Patterns: []webhook.Pattern{pattern(t, "lead.created"), pattern(t, "lead.*"), pattern(t, "*")},
	}
	if diff := cmp.Diff([]string{"lead.created", "lead.deleted", "lead.*", "*"}, texts(w.Subscriptions())); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
}
