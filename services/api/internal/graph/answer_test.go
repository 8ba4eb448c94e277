package graph_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graph-gophers/graphql-go/ast"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/schema"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/graph"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

// awkward has all that takes more room in JSON than it has bytes.
const awkward = "<>&\"\\\x01\t\u2028\xff é"

// stuffed is a fake in which everything that may be long has the text.
func stuffed(text string) *fake {
	f := &fake{hooks: webhooks(acme, 0, 3), payloads: map[webhook.EventID]string{}, attempts: map[webhook.DeliveryID][]webhook.Attempt{}}
	fields := []webhook.Field{{Name: text, Value: text}, {Name: "b", Value: text}}
	for i := range f.hooks {
		w := &f.hooks[i]
		w.Name, w.Description, w.URL, w.StatusReason, w.CreatedBy = text, text, text, text, text
		w.Headers = []webhook.Header{{Name: text, Value: text}}
		for _, entry := range webhook.Catalogue() {
			w.Events = append(w.Events, entry.Type)
		}
		f.deliveries = append(f.deliveries, deliveries(*w, 3)...)
	}
	for i := range f.deliveries {
		d := &f.deliveries[i]
		d.LastError, d.Status, d.FailureReason, d.ResponseStatus = text, webhook.Failed, webhook.AttemptsExhausted, 500
		f.payloads[d.EventID] = `{"a":["<>&` + "\u2028\u2029" + `"]}`
		f.attempts[d.ID] = []webhook.Attempt{{
			Number: 1, ResponseStatus: 500, ErrorClass: "BLOCKED_ADDRESS", Error: text, RequestHeaders: fields, ResponseHeaders: fields, ResponseBody: text,
		}}
	}
	return f
}

// everything selects all fields of a type, and of the types of its fields, down to
// a depth.
func everything(t *testing.T, types map[string]ast.NamedType, typeName string, depth int) string {
	t.Helper()
	object, ok := types[typeName].(*ast.ObjectTypeDefinition)
	if !ok {
		t.Fatalf("%s is no object", typeName)
	}
	var b strings.Builder
	b.WriteString("{ __typename ")
	for _, field := range object.Fields {
		inside := strings.Trim(field.Type.String(), "[]!")
		if _, ok := types[inside].(*ast.ObjectTypeDefinition); !ok {
			b.WriteString(field.Name + " ")
		} else if depth > 1 {
			b.WriteString(field.Name + " " + everything(t, types, inside, depth-1))
		}
	}
	return b.String() + "} "
}

// TestLimits_answersCountInFull: whatever is asked for counts for at least as much
// as it takes, and not for much more.
func TestLimits_answersCountInFull(t *testing.T) {
	t.Parallel()
	types := parse(t, schema.GraphQL()).Types
	all := func(typeName string, depth int) string { return everything(t, types, typeName, depth) + "}" }
	f := stuffed(strings.Repeat(awkward, 10))
	f.result = manage.TestResult{Error: awkward + awkward, Delivery: f.deliveries[0]}
	anybody := auth.Principal{
		Subject: strings.Repeat(awkward, 10), Tenant: acme, Role: token.Admin,
		Permissions: []auth.Permission{auth.Read, auth.Create, auth.Update, auth.Delete, auth.Test, auth.Dispatch},
	}
	const event = `{event: LEAD_CREATED, objectId: "1", object: {}}, `
	for _, document := range []string{
		`{ viewer ` + all("Viewer", 1),
		`{ webhookEvents ` + all("WebhookEventType", 1),
		`{ webhooks ` + all("WebhookConfigConnection", 3),
		`{ webhookDeliveries ` + all("WebhookDeliveryConnection", 5),
		`{ webhookStats ` + all("WebhookStats", 1),
		`{ ` + strings.Repeat("a", 5000) + `: webhooks { nodes { ` + strings.Repeat("b", 5000) + `: id } } }`,
		`{ __schema { types { name description fields { name description type { name } } } } }`,
		`mutation { createWebhook(input: {name: "n", url: "https://example.com", events: [LEAD_CREATED]}) ` + all("CreateWebhookPayload", 2),
		`mutation { createWebhook(input: {name: "", url: "<", headers: [{name: "<", value: "\n"}]}) ` + all("CreateWebhookPayload", 2),
		`mutation { rotateWebhookSecret(id: "$hook") ` + all("RotateWebhookSecretPayload", 2),
		`mutation { deleteWebhook(id: "$hook") ` + all("DeleteWebhookPayload", 2),
		`mutation { testWebhook(id: "$hook") ` + all("TestWebhookPayload", 3),
		`mutation { dispatchEvents(inputs: [` + strings.Repeat(event, 100) + `]) ` + all("DispatchEventsPayload", 2),
	} {
		resp, counted := newSchema(t, f).Counted(auth.WithPrincipal(t.Context(), anybody), withIDs(document, f.deliveries[0]))
		if len(resp.Errors) > 0 {
			t.Errorf("%.100s: %v", document, resp.Errors[0])
			continue
		}
		if took := int64(len(resp.Data)); counted < took || counted > 4*took {
			t.Errorf("%.100s: takes %d bytes and counts for %d", document, took, counted)
		}
	}
}

// TestLimits_sizeOfAnswersInMemory: a request may be answered or refused, but neither
// takes more than some times the largest answer, and what is just allowed comes.
func TestLimits_sizeOfAnswersInMemory(t *testing.T) { //nolint:paralleltest // counts what everybody allocates
	small, large := stuffed("x"), stuffed(strings.Repeat("<", 4000))
	large.deliveries = deliveries(large.hooks[0], 100)
	for _, d := range large.deliveries {
		large.payloads[d.EventID] = `"` + strings.Repeat("x", 64<<10) + `"`
		large.attempts[d.ID] = large.attempts[stuffed("").deliveries[0].ID]
	}
	for name, tc := range map[string]struct {
		fake     *fake
		document string
		refused  bool // for the size of its answer
	}{
		"100 payloads":                   {large, `{ webhookDeliveries(first: 100) { nodes { payload } } }`, false},
		"100 payloads twice":             {large, `{ webhookDeliveries(first: 100) { nodes { payload again: payload } } }`, true},
		"20 payloads under 49 names":     {large, `{ webhookDeliveries(first: 20) { nodes { ` + pages(49, "payload") + `} } }`, true},
		"payloads of many pages":         {large, `{ ` + pages(12, `webhookDeliveries(first: 100) { nodes { payload } }`) + `}`, true},
		"attempts under 49 names":        {large, `{ webhookDeliveries(first: 100) { nodes { ` + pages(24, "attempts { responseBody b: responseBody }") + `} } }`, true},
		"headers under 49 names":         {large, `{ webhooks { nodes { ` + pages(24, "headers { value b: value }") + `} } }`, false},
		"headers of many pages":          {large, `{ ` + pages(24, `webhooks { nodes { ...F } }`) + `} fragment F on WebhookConfig { ` + pages(24, "headers { value }") + `}`, true},
		"descriptions":                   {large, `{ ` + pages(24, `webhooks { nodes { ...F } }`) + `} fragment F on WebhookConfig { ` + pages(24, "description") + `}`, true},
		"lists of events":                {large, `{ ` + pages(25, `webhooks { nodes { ...F } }`) + `} fragment F on WebhookConfig { ` + pages(25, "events") + `}`, false},
		"a long name many times":         {large, `{ ` + pages(49, `webhookDeliveries(first: 100) { nodes { ...F } }`) + `} fragment F on WebhookDelivery { ` + strings.Repeat("a", 12000) + `: id }`, true},
		"the catalogue under many names": {small, `{ ` + pages(24, `webhookEvents { ...F }`) + `} fragment F on WebhookEventType { ` + pages(24, "examplePayload") + `}`, true},
		"errors":                         {small, `{ ` + pages(25, `webhookDeliveries(first: 100) { nodes { ...F } }`) + `} fragment F on WebhookDelivery { ` + pages(24, "payload") + `}`, true},
		"introspection, nested":          {small, `{ __schema { types { fields { type { ofType { fields { type { ofType { fields { type { ofType { fields { name } } } } } } } } } } } } }`, false},
		"introspection, many names":      {small, `{ ` + pages(20, `__schema { ...F }`) + `} fragment F on __Schema { types { ` + strings.Repeat("a", 8000) + `: name } }`, true},
	} {
		if name == "errors" {
			tc.fake.payloadErr = webhook.Unavailable(nil)
		}
		handler := edge(t, tc.fake)
		allocated, w := allocatedBy(func() *httptest.ResponseRecorder { return postTo(t, handler, queryOf(tc.document)) })
		tc.fake.payloadErr = nil
		refusal := strings.HasPrefix(w.Body.String(), `{"errors":[{"message":"query must select less`) || name == "errors" && strings.Contains(w.Body.String(), "UNAVAILABLE")
		if refusal != tc.refused || !refusal && strings.Contains(w.Body.String(), `"errors"`) {
			t.Errorf("%s: %d, %d bytes %.200s", name, w.Code, w.Body.Len(), w.Body)
		}
		if w.Body.Len() > graph.MaxAnswerBytes+1<<10 {
			t.Errorf("%s: answered with %d bytes", name, w.Body.Len())
		}
		if allocated > 32*graph.MaxAnswerBytes {
			t.Errorf("%s: allocated %d MiB", name, allocated>>20)
		}
		t.Logf("%-32s %4d MiB, %8d bytes, refused %t", name, allocated>>20, w.Body.Len(), tc.refused)
	}
}

// allocatedBy returns how many bytes a function allocates in all.
func allocatedBy(f func() *httptest.ResponseRecorder) (uint64, *httptest.ResponseRecorder) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w := f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, w
}

// withPayloads is a fake in which both tenants have 30 payloads of 64 KiB.
func withPayloads() *fake {
	f := &fake{hooks: append(webhooks(acme, 0, 1), webhooks(globex, 50, 1)...), payloads: map[webhook.EventID]string{}}
	for _, w := range f.hooks {
		f.deliveries = append(f.deliveries, deliveries(w, 30)...)
	}
	for _, d := range f.deliveries {
		f.payloads[d.EventID] = `"` + strings.Repeat("x", 64<<10) + `"`
	}
	return f
}

const somePayloads = `{ webhookDeliveries(first: %d) { nodes { payload } } }`

// TestLimits_oneLargeAnswerOfATenant: until it is read there is no other one, but
// small ones and those of others.
func TestLimits_oneLargeAnswerOfATenant(t *testing.T) {
	t.Parallel()
	config := limit.PlacesConfig{Tenant: 1, Queue: 5, Patience: 50 * time.Millisecond}
	large := limit.NewPlaces(config)
	config.Tenant = 4
	operations, f := limit.NewPlaces(config), withPayloads()
	s, err := graph.NewSchema(graph.Config{Management: f, Accept: f, Log: slog.New(slog.DiscardHandler), Large: large})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(tenant webhook.TenantID, first int) (answer, *limit.Place) {
		place, _ := operations.Take(t.Context(), tenant, 1)
		return run(t, limit.WithPlace(as(t, tenant, token.Admin), place), s, fmt.Sprintf(somePayloads, first), ""), place
	}
	got, unread := ask(acme, 30)
	if len(got.Errors) > 0 {
		t.Error(got.Errors)
	}
	for name, tc := range map[string]struct {
		tenant webhook.TenantID
		first  int
		code   string
	}{"a small one": {acme, 5, ""}, "another tenant's": {globex, 30, ""}, "a second one": {acme, 30, "LIMIT_EXCEEDED"}} {
		got, place := ask(tc.tenant, tc.first)
		if got.code(t) != tc.code || tc.code != "" && (got.Errors[0].Message != "large answers of this tenant must be fewer at a time" || got.Errors[0].Extensions["retryAfterMs"] != 1000.0) {
			t.Errorf("%s: %v", name, got.Errors)
		}
		place.Leave()
	}
	unread.Leave()
	if got, _ := ask(acme, 30); len(got.Errors) > 0 {
		t.Errorf("the next one: %v", got.Errors)
	}
}

// TestLimits_aLargeAnswerIsNotMadeWhileAMutationWaits: what a mutation has read
// keeps nobody waiting while the next one waits for a receiver.
func TestLimits_aLargeAnswerIsNotMadeWhileAMutationWaits(t *testing.T) {
	t.Parallel()
	f := withPayloads()
	f.hooks[0].Headers = []webhook.Header{{Name: "X", Value: strings.Repeat("x", 64<<10)}}
	f.result = manage.TestResult{Success: true, Delivery: f.deliveries[0]}
	tests, goOn := make(chan struct{}), make(chan struct{})
	f.testing = func() { tests <- struct{}{}; <-goOn }
	s := newSchema(t, f)
	document := withIDs(`mutation { updateWebhook(id: "$hook", input: {}) { webhook { `+pages(30, "headers { value }")+`} } testWebhook(id: "$hook") { success delivery { webhook { `+
		pages(10, "headers { value }")+`} } } }`, f.deliveries[0])
	const all = 3
	done := make(chan answer, all)
	ctx, cancel := context.WithTimeout(as(t, acme, token.Admin), 20*time.Second)
	defer cancel()
	for range all {
		go func() { done <- run(t, ctx, s, document, "") }() // waited for below
	}
	for range all {
		select {
		case <-tests:
		case got := <-done: // could not read while the others wait
			done <- got
		}
	}
	other, enough := context.WithTimeout(as(t, globex, token.Admin), 10*time.Second)
	defer enough()
	if got := run(t, other, s, fmt.Sprintf(somePayloads, 30), ""); len(got.Errors) > 0 {
		t.Error(got.Errors)
	}
	close(goOn)
	for range all {
		if got := <-done; len(got.Errors) > 0 || got.at(t, "testWebhook.success") != true {
			t.Error(got.Errors)
		}
	}
}

// TestLimits_fewLargeAnswersAreMadeAtATime: whoever's they are.
func TestLimits_fewLargeAnswersAreMadeAtATime(t *testing.T) {
	t.Parallel()
	const few, all = 2, 5
	f := withPayloads()
	var loading atomic.Int64
	loads, goOn := make(chan struct{}), make(chan struct{})
	f.loadingMuch = func() {
		if loading.Add(1) > few {
			t.Errorf("more than %d large answers are made", few)
		}
		loads <- struct{}{}
		<-goOn
		loading.Add(-1)
	}
	s := newSchema(t, f)
	done := make(chan answer, all)
	for range all {
		go func() { done <- run(t, as(t, acme, token.Admin), s, fmt.Sprintf(somePayloads, 30), "") }() // waited for below
	}
	for range few {
		<-loads
	}
	for i := range all {
		goOn <- struct{}{}
		if got := <-done; len(got.Errors) > 0 {
			t.Error(got.Errors)
		}
		if i < all-few {
			<-loads
		}
	}
}
