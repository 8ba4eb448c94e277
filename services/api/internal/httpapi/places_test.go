package httpapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/graph-gophers/graphql-go"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/limit"
)

// holding is an executor that keeps the operations named Hold until it is told to
// let them go, and says when it has one.
type holding struct {
	httpapi.Executor
	holds chan struct{}
	goOn  chan struct{}
}

func (h *holding) Exec(ctx context.Context, query, name string, variables map[string]any) *graphql.Response {
	if strings.Contains(query, "Hold") {
		h.holds <- struct{}{}
		<-h.goOn
	}
	return h.Executor.Exec(ctx, query, name, variables)
}

const hold = "query Hold { tenant }"

// held is a server with one place for operations and one MiB of large bodies for
// each tenant.
func held(t *testing.T, operations, queue int) (*bundle, *holding) {
	t.Helper()
	h := &holding{holds: make(chan struct{}), goOn: make(chan struct{})}
	b := setup(t, func(c *httpapi.Config) {
		h.Executor, c.Executor = c.Executor, h
		c.Operations = limit.NewPlaces(limit.PlacesConfig{Tenant: operations, Queue: queue, Patience: time.Minute})
		c.Bodies = limit.NewPlaces(limit.PlacesConfig{Tenant: 1 << 10, Queue: queue, Patience: time.Minute})
	})
	return b, h
}

// start sends a query that will be held, and returns when it is.
func (h *holding) start(t *testing.T, b *bundle, query string) chan *reply {
	t.Helper()
	done := make(chan *reply, 1)
	go func() { done <- b.query(t, query) }() // waited for by whoever lets it go
	<-h.holds
	return done
}

// TestPlaces_oneTenantKeepsNobodyElseWaiting: with all of a tenant's places taken,
// more of its operations wait, some more are refused with a hint, and everybody
// else is answered, as are the tenant's events.
func TestPlaces_oneTenantKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	b, h := held(t, 2, 1)
	answers := []chan *reply{h.start(t, b, hold), h.start(t, b, hold)}
	more := make(chan *reply, 2)
	for range cap(more) {
		go func() { more <- b.query(t, "{ tenant }") }() // waited for below
	}
	r := <-more // one waits, so this is the other
	want := `{"errors":[{"message":"requests of this tenant must be fewer at a time","extensions":{"code":"LIMIT_EXCEEDED","retryAfterMs":1000}}]}`
	if r.StatusCode != http.StatusTooManyRequests || r.body != want || r.Header.Get("Retry-After") != "1" {
		t.Errorf("with all places taken: %d %v %s", r.StatusCode, r.Header, r.body)
	}
	if r := b.query(t, "{ tenant }", "Authorization: Bearer "+tokenOf(t, "globex")); r.code() != "" {
		t.Errorf("another tenant: %s", r.body)
	}
	if r := b.query(t, "mutation { dispatchEvent }"); r.StatusCode == http.StatusTooManyRequests {
		t.Errorf("an event: %s", r.body)
	}
	close(h.goOn)
	for _, answer := range append(answers, more) {
		if r := <-answer; r.code() != "" {
			t.Errorf("after all: %s", r.body)
		}
	}
}

// TestPlaces_areGivenBack: after an answer, a refusal and a panic.
func TestPlaces_areGivenBack(t *testing.T) {
	t.Parallel()
	b, _ := held(t, 1, 0)
	for _, query := range []string{"{ tenant }", "{ tenant", "mutation { count }", "query PanicOutside { tenant }", "{ panics }", "{ nothing }", "{ tenant }"} {
		for range 2 {
			if r := b.query(t, query); r.StatusCode == http.StatusTooManyRequests {
				t.Errorf("%s: %s", query, r.body)
			}
		}
	}
}

// slowReader is a client that does not read its answer until it is told to.
type slowReader struct {
	http.ResponseWriter
	writes chan struct{}
	goOn   chan struct{}
}

func (s *slowReader) Write(p []byte) (int, error) {
	s.writes <- struct{}{}
	<-s.goOn
	return s.ResponseWriter.Write(p)
}

// TestPlaces_areHeldUntilTheAnswerIsWritten: until then it is in memory.
func TestPlaces_areHeldUntilTheAnswerIsWritten(t *testing.T) {
	t.Parallel()
	b, _ := held(t, 1, 0)
	slow := &slowReader{ResponseWriter: httptest.NewRecorder(), writes: make(chan struct{}), goOn: make(chan struct{})}
	done := make(chan struct{})
	go func() { // waited for below
		defer close(done)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/graphql?query={tenant}", nil)
		r.Header.Set("Authorization", "Bearer "+b.token)
		b.Config.Handler.ServeHTTP(slow, r)
	}()
	<-slow.writes
	if r := b.query(t, "{ tenant }"); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("while an answer is written: %d %s", r.StatusCode, r.body)
	}
	close(slow.goOn)
	<-done
	if r := b.query(t, "{ tenant }"); r.code() != "" {
		t.Errorf("when it is: %s", r.body)
	}
}

// TestPlaces_largeBodies: as many as there is room for are read, whether they say
// how long they are or not; small ones always are.
func TestPlaces_largeBodies(t *testing.T) {
	t.Parallel()
	b, h := held(t, 10, 0)
	body := func(query string) string {
		return `{"query": "` + query + `", "variables": {"x": "` + strings.Repeat("x", 600<<10) + `"}}`
	}
	first := make(chan *reply, 1)
	go func() { first <- b.do(t, http.MethodPost, "/graphql", body(hold)) }() // waited for below
	<-h.holds
	if r := b.do(t, http.MethodPost, "/graphql", body("{ tenant }")); r.StatusCode != http.StatusTooManyRequests {
		t.Errorf("another large one: %d %.200s", r.StatusCode, r.body)
	}
	if status := b.postChunked(t, `{"query": "{ tenant }"}`); status != http.StatusTooManyRequests {
		t.Errorf("one of unknown length: %d", status)
	}
	if r := b.query(t, "{ tenant }"); r.code() != "" {
		t.Errorf("a small one: %s", r.body)
	}
	if r := b.do(t, http.MethodPost, "/graphql", body("{ tenant }"), "Authorization: Bearer "+tokenOf(t, "globex")); r.code() != "" {
		t.Errorf("another tenant's: %.200s", r.body)
	}
	close(h.goOn)
	if r := <-first; r.code() != "" {
		t.Errorf("the first: %s", r.body)
	}
	if r := b.do(t, http.MethodPost, "/graphql", body("{ tenant }")); r.code() != "" {
		t.Errorf("when there is room: %.200s", r.body)
	}
}

func (b *bundle) postChunked(t *testing.T, body string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL+"/graphql", io.MultiReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+b.token)
	r.Header.Set("Content-Type", "application/json")
	response, err := b.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
