package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// client speaks GraphQL over HTTP to one api with one token. It may be used
// concurrently, by subtests and by goroutines.
type client struct {
	t       *testing.T
	addr    string
	bearer  string
	header  http.Header // added to each request
	http    *http.Client
	answers *record // shared by clients made of this one
}

// record keeps answers for a test that looks through all of them.
type record struct {
	mu    sync.Mutex
	texts []string
}

func (r *record) add(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, text)
}

func newClient(t *testing.T, addr, bearer string) *client {
	c := &client{t: t, addr: addr, bearer: bearer, header: http.Header{}, answers: &record{}}
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	c.http = &http.Client{Transport: transport, Timeout: patience}
	t.Cleanup(transport.CloseIdleConnections)
	return c
}

// in returns the same client for a subtest.
func (c *client) in(t *testing.T) *client {
	own := *c
	own.t = t
	return &own
}

// with returns the same client with one header more.
func (c *client) with(name, value string) *client {
	own := *c
	own.header = c.header.Clone()
	own.header.Set(name, value)
	return &own
}

// vars are a document's variables.
type vars map[string]any

// gqlError is a top-level error.
type gqlError struct {
	Message    string
	Extensions struct{ Code, RequestID string }
}

// answer is a GraphQL response with its HTTP.
type answer struct {
	Status int         `json:"-"`
	Header http.Header `json:"-"`
	Text   string      `json:"-"`
	Data   map[string]json.RawMessage
	Errors []gqlError
}

// code is the first error's, empty when there is none.
func (a answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	return a.Errors[0].Extensions.Code
}

// send makes a request whose fate is for the caller to judge.
func (c *client) send(query string, v vars) (answer, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false) // bytes are to arrive as they are given
	if err := encoder.Encode(map[string]any{"query": query, "variables": v}); err != nil {
		return answer{}, err
	}
	req, err := http.NewRequest(http.MethodPost, "http://"+c.addr+"/graphql", &body)
	if err != nil {
		return answer{}, err
	}
	req.Header = c.header.Clone()
	req.Header.Set("Content-Type", "application/json")
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/graphql-response+json")
	}
	if c.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	return c.exchange(req)
}

func (c *client) exchange(req *http.Request) (answer, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: resp.StatusCode, Header: resp.Header, Text: string(text)}
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("HTTP %d is not JSON: %s", resp.StatusCode, text)
	}
	return a, nil
}

// ask makes a request that must reach the api.
func (c *client) ask(query string, v vars) answer {
	c.t.Helper()
	a, err := c.send(query, v)
	if err != nil {
		c.t.Fatal(err)
	}
	c.answers.add(withoutSecret(a))
	return a
}

// shownOnce stands for a secret in the one place where it belongs.
const shownOnce = "[shown once]"

// withoutSecret is an answer's text without what createWebhook and
// rotateWebhookSecret show in their field secret.
func withoutSecret(a answer) string {
	text := a.Text
	for _, name := range []string{"createWebhook", "rotateWebhookSecret"} {
		var made struct{ Secret string }
		if err := json.Unmarshal(a.Data[name], &made); err == nil && made.Secret != "" {
			text = strings.Replace(text, `"secret":"`+made.Secret+`"`, shownOnce, 1)
		}
	}
	return text
}

// get makes a request that must be answered without errors, and decodes the
// answer's one field.
func get[T any](c *client, query string, v vars) (out T) {
	c.t.Helper()
	a := c.ask(query, v)
	if a.Status != http.StatusOK || len(a.Errors) > 0 || len(a.Data) != 1 {
		c.t.Fatalf("HTTP %d %s, asked for %s", a.Status, a.Text, query)
	}
	for _, field := range a.Data {
		if err := json.Unmarshal(field, &out); err != nil {
			c.t.Fatalf("%v in %s", err, a.Text)
		}
	}
	return out
}

// userError is what a caller can mend.
type userError struct {
	Message string
	Field   []string
	Code    string
}

func (e userError) String() string {
	return e.Code + " " + strings.Join(e.Field, ".") + ": " + e.Message
}

type hook struct {
	ID, Name, URL, Status string
	StatusReason          *string
	Headers               []field
}

type field struct{ Name, Value string }

type delivery struct {
	ID, EventID, EventType, WebhookID string
	Webhook                           *hook
	Status                            string
	FailureReason, LastError          *string
	Payload                           json.RawMessage
	AttemptCount, MaxAttempts         int
	NextAttemptAt, CompletedAt        *time.Time
	CreatedAt                         time.Time
	ResponseStatus                    *int
	Attempts                          []attempt
}

// String shows what pointers lead to.
func (d delivery) String() string {
	type plain delivery
	shown, err := json.Marshal(plain(d))
	if err != nil {
		return err.Error()
	}
	return string(shown)
}

type attempt struct {
	Number                          int
	StartedAt                       time.Time
	DurationMs                      int
	ResponseStatus                  *int
	ErrorClass, Error, ResponseBody *string
	RequestHeaders, ResponseHeaders []field
}

type stats struct {
	Total, Pending, Retrying, Succeeded, Failed   int
	SuccessRate, AverageDurationMs, P95DurationMs *float64
}

type pageInfo struct {
	HasNextPage, HasPreviousPage bool
	StartCursor, EndCursor       *string
}

// page is a connection.
type page[N any] struct {
	Nodes []N
	Edges []struct {
		Cursor string
		Node   N
	}
	PageInfo   pageInfo
	TotalCount int
}

const (
	errorFields    = ` userErrors{code field message}`
	hookFields     = `id name url status statusReason headers{name value}`
	deliveryFields = `id eventId eventType webhookId webhook{` + hookFields + `} status failureReason payload attemptCount maxAttempts
		nextAttemptAt responseStatus lastError createdAt completedAt attempts{number startedAt durationMs responseStatus errorClass error
		requestHeaders{name value} responseHeaders{name value} responseBody}`
	statsFields = `total pending retrying succeeded failed successRate averageDurationMs p95DurationMs`
	pageFields  = `pageInfo{hasNextPage hasPreviousPage startCursor endCursor} totalCount`

	createHook = `mutation($input:CreateWebhookInput!){createWebhook(input:$input){webhook{` + hookFields + `} secret` + errorFields + `}}`
	updateHook = `mutation($id:ID!,$input:UpdateWebhookInput!){updateWebhook(id:$id,input:$input){webhook{` + hookFields + `}` + errorFields + `}}`
	deleteHook = `mutation($id:ID!){deleteWebhook(id:$id){deletedId` + errorFields + `}}`
	rotateHook = `mutation($id:ID!,$grace:Int){rotateWebhookSecret(id:$id,graceSeconds:$grace){webhook{id} secret previousSecretExpiresAt` + errorFields + `}}`
	testHook   = `mutation($id:ID!,$event:WebhookEvent){testWebhook(id:$id,event:$event){success responseStatus durationMs error delivery{` +
		deliveryFields + `}` + errorFields + `}}`
	dispatchOne   = `mutation($input:DispatchEventInput!){dispatchEvent(input:$input){eventId deliveryCount duplicate` + errorFields + `}}`
	dispatchMany  = `mutation($inputs:[DispatchEventInput!]!){dispatchEvents(inputs:$inputs){eventIds deliveryCount` + errorFields + `}}`
	retryDelivery = `mutation($id:ID!){retryWebhookDelivery(id:$id){delivery{` + deliveryFields + `}` + errorFields + `}}`

	queryHook       = `query($id:ID!){webhook(id:$id){` + hookFields + `}}`
	queryDelivery   = `query($id:ID!){webhookDelivery(id:$id){` + deliveryFields + `}}`
	queryDeliveries = `query($id:ID,$filter:WebhookDeliveryFilterInput,$first:Int,$after:String,$last:Int,$before:String){webhookDeliveries(
		webhookId:$id,filter:$filter,first:$first,after:$after,last:$last,before:$before){nodes{` + deliveryFields + `} edges{cursor node{id}} ` + pageFields + `}}`
	queryHooks = `query($filter:WebhookFilterInput,$first:Int,$after:String,$last:Int,$before:String){webhooks(
		filter:$filter,first:$first,after:$after,last:$last,before:$before){nodes{` + hookFields + `} edges{cursor node{id}} ` + pageFields + `}}`
	queryStats = `query($id:ID){webhookStats(webhookId:$id){` + statsFields + `}}`
)

// created is the answer of createWebhook, and of rotateWebhookSecret.
type created struct {
	Webhook                 *hook
	Secret                  string
	PreviousSecretExpiresAt *time.Time
	UserErrors              []userError
}

// create makes a webhook that must be made. What input says replaces the
// defaults: every event, quick retries.
func (c *client) create(url string, input vars) created {
	c.t.Helper()
	all := vars{"name": "n", "url": url, "eventPatterns": []string{"*"}, "initialBackoffMs": 10}
	for name, value := range input {
		all[name] = value
	}
	out := get[created](c, createHook, vars{"input": all})
	if len(out.UserErrors) > 0 || out.Webhook == nil {
		c.t.Fatalf("creating a webhook: %v", out.UserErrors)
	}
	return out
}

// update changes a webhook that must be there.
func (c *client) update(id string, input vars) hook {
	c.t.Helper()
	out := get[struct {
		Webhook    *hook
		UserErrors []userError
	}](c, updateHook, vars{"id": id, "input": input})
	if len(out.UserErrors) > 0 {
		c.t.Fatalf("updating a webhook: %v", out.UserErrors)
	}
	return *out.Webhook
}

// accepted is the answer of dispatchEvent.
type accepted struct {
	EventID       string
	DeliveryCount int
	Duplicate     bool
	UserErrors    []userError
}

// event is a small event's input.
func event(objectID string) vars {
	return vars{"event": "LEAD_CREATED", "objectId": objectID, "object": vars{"name": "Ada"}}
}

// dispatch has an event accepted that must be.
func (c *client) dispatch(input vars) accepted {
	c.t.Helper()
	out := get[accepted](c, dispatchOne, vars{"input": input})
	if len(out.UserErrors) > 0 {
		c.t.Fatalf("dispatching: %v", out.UserErrors)
	}
	return out
}

// acceptedMany is the answer of dispatchEvents.
type acceptedMany struct {
	EventIDs      []string
	DeliveryCount int
	UserErrors    []userError
}

// dispatchMany has n small events accepted.
func (c *client) dispatchMany(n int) acceptedMany {
	c.t.Helper()
	inputs := make([]vars, n)
	for i := range inputs {
		inputs[i] = event(fmt.Sprint("lead-", i))
	}
	out := get[acceptedMany](c, dispatchMany, vars{"inputs": inputs})
	if len(out.UserErrors) > 0 || len(out.EventIDs) != n {
		c.t.Fatalf("dispatching %d events: got %d, %v", n, len(out.EventIDs), out.UserErrors)
	}
	return out
}

// deliveriesOf returns what an event has become, in no order.
func (c *client) deliveriesOf(eventID string) []delivery {
	c.t.Helper()
	return get[page[delivery]](c, queryDeliveries, vars{"filter": vars{"eventId": eventID}}).Nodes
}

// awaitDelivery waits until the one delivery of an event is as it is to be.
func (c *client) awaitDelivery(eventID string, done func(delivery) bool) (d delivery) {
	c.t.Helper()
	await(c.t, "the delivery of "+eventID, func() bool {
		all := c.deliveriesOf(eventID)
		if len(all) != 1 {
			c.t.Fatalf("event %s has %d deliveries, want 1", eventID, len(all))
		}
		d = all[0]
		return done(d)
	})
	return d
}

func finished(d delivery) bool { return d.Status == "SUCCESS" || d.Status == "FAILED" }

func (c *client) stats(webhookID string) stats {
	c.t.Helper()
	return get[stats](c, queryStats, vars{"id": webhookID})
}

// text reads what may be null.
func text[T any](p *T) string {
	if p == nil {
		return "null"
	}
	return fmt.Sprint(*p)
}
