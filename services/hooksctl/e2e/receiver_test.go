package e2e_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// request is one that came.
type request struct {
	Path   string
	Header http.Header
	Body   string
}

func (r request) delivery() string { return r.Header.Get("Crm-Delivery-Id") }

// verify tells whether a secret has signed the request.
func (r request) verify(t *testing.T, secret string) error {
	t.Helper()
	w, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	return w.Verify([]byte(r.Body), r.Header)
}

// receiver is a customer's. Each path is an endpoint of its own: it answers 204
// unless told otherwise, and a request that its secret has not signed fails the
// test.
type receiver struct {
	*httptest.Server
	t *testing.T

	mu      sync.Mutex
	came    []request
	counts  map[string]int // by delivery
	secrets map[string]string
	answers map[string]answering
}

// answering answers the nth request of one delivery, from 1.
type answering func(w http.ResponseWriter, r *http.Request, nth int)

func newReceiver(t *testing.T) *receiver {
	r := &receiver{t: t, counts: map[string]int{}, secrets: map[string]string{}, answers: map[string]answering{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() {
		r.CloseClientConnections()
		r.Close()
	})
	return r
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender has gone: no request
	}
	got := request{Path: req.URL.Path, Header: req.Header, Body: string(body)}
	r.mu.Lock()
	r.counts[got.delivery()]++
	nth := r.counts[got.delivery()]
	r.came = append(r.came, got)
	secret, answer := r.secrets[got.Path], r.answers[got.Path]
	r.mu.Unlock()
	if secret != "" {
		if err := got.verify(r.t, secret); err != nil {
			r.t.Errorf("%s got a request that its secret has not signed: %v", got.Path, err)
		}
	}
	if answer == nil {
		answer = status(http.StatusNoContent)
	}
	answer(w, req, nth)
}

// trust makes a secret the one that must have signed.
func (r *receiver) trust(path, secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secrets[path] = secret
}

// answer says how a path answers from now on.
func (r *receiver) answer(path string, a answering) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[path] = a
}

// status answers always the same.
func status(code int) answering {
	return func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(code) }
}

// hold keeps requests waiting until release is called, or the sender leaves.
func (r *receiver) hold(path string) (release func()) {
	gate := make(chan struct{})
	release = sync.OnceFunc(func() { close(gate) })
	r.t.Cleanup(release)
	r.answer(path, func(w http.ResponseWriter, req *http.Request, _ int) {
		select {
		case <-gate:
			w.WriteHeader(http.StatusNoContent)
		case <-req.Context().Done():
		}
	})
	return release
}

// requests returns what has come to a path.
func (r *receiver) requests(path string) (out []request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, got := range r.came {
		if got.Path == path {
			out = append(out, got)
		}
	}
	return out
}

// awaitRequests waits until n have come to a path.
func (r *receiver) awaitRequests(t *testing.T, path string, n int) []request {
	t.Helper()
	await(t, "requests to "+path, func() bool { return len(r.requests(path)) >= n })
	return r.requests(path)
}

// perDelivery counts the requests of each delivery, on all paths.
func (r *receiver) perDelivery() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts)
}

// perAttempt counts the requests of each attempt: more than one means that the
// first one was not recorded.
func (r *receiver) perAttempt() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	counts := map[string]int{}
	for _, got := range r.came {
		counts["attempt "+got.Header.Get("Crm-Attempt")+" of "+got.delivery()]++
	}
	return counts
}

// subscribe makes a webhook that leads to a path, which from then on trusts its
// secret only.
func (r *receiver) subscribe(c *client, path string, input vars) created {
	c.t.Helper()
	made := c.create(r.URL+path, input)
	r.trust(path, made.Secret)
	return made
}
