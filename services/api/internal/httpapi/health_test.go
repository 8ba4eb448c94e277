package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/httpapi"
)

func TestHealth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		r := b.do(t, http.MethodGet, path, "", "Authorization:")
		if r.StatusCode != http.StatusOK || r.body != `{"status":"ok","version":"dev"}`+"\n" {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.body)
		}
	}
	b.ready = errors.New("dial tcp 10.0.0.5:5432: connection refused")
	if r := b.do(t, http.MethodGet, "/healthz", ""); r.StatusCode != http.StatusOK {
		t.Errorf("healthz while PostgreSQL is away: %d", r.StatusCode)
	}
	r := b.do(t, http.MethodGet, "/readyz", "")
	if want := `{"status":"unavailable","reason":"PostgreSQL does not answer","version":"dev"}` + "\n"; r.StatusCode != http.StatusServiceUnavailable || r.body != want {
		t.Errorf("readyz while PostgreSQL is away: %d %s, want %s", r.StatusCode, r.body, want)
	}
	if !strings.Contains(b.log.String(), "10.0.0.5:5432") {
		t.Error("the cause is not in the log")
	}
}

// notMigratedError is an error with words for everybody.
type notMigratedError struct{}

func (notMigratedError) Error() string  { return "lacks migrations of /srv/secret" }
func (notMigratedError) Reason() string { return "the database is not migrated" }

func TestReady_saysWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.ready = fmt.Errorf("looking: %w", notMigratedError{})
	r := b.do(t, http.MethodGet, "/readyz", "")
	if want := `{"status":"unavailable","reason":"the database is not migrated","version":"dev"}` + "\n"; r.StatusCode != http.StatusServiceUnavailable || r.body != want {
		t.Errorf("%d %s, want %s", r.StatusCode, r.body, want)
	}
}

// TestReady_oneLooksForAll: however many ask, one look is under way, and who asks
// while it hangs is told in time.
func TestReady_oneLooksForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		goOn := make(chan struct{})
		handler, err := httpapi.New(httpapi.Config{
			Executor: executor{}, Auth: refuseAll{}, Registry: obs.NewRegistry("api"), Log: slog.New(slog.DiscardHandler),
			Ready: func(context.Context) error { looks.Add(1); <-goOn; return nil }, // hangs whatever its context says
		})
		if err != nil {
			t.Fatal(err)
		}
		ask := func() int {
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
			return w.Code
		}
		started := time.Now()
		codes := make(chan int, 10)
		for range cap(codes) {
			go func() { codes <- ask() }() // waited for below
		}
		for range cap(codes) {
			if code := <-codes; code != http.StatusServiceUnavailable {
				t.Errorf("while PostgreSQL hangs: %d", code)
			}
		}
		if took := time.Since(started); took > 2*time.Second || looks.Load() != 1 {
			t.Errorf("took %s and %d looks, want 2s and one", took, looks.Load())
		}
		close(goOn)
		synctest.Wait()
		if code := ask(); code != http.StatusOK {
			t.Errorf("when it is back: %d", code)
		}
	})
}

type refuseAll struct{}

func (refuseAll) FromRequest(*http.Request) (auth.Principal, error) {
	return auth.Principal{}, errors.New("no")
}
