package run

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = errors.New("broken")

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestSupervise_exitCodes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body    func(context.Context) error
		signals int
		code    int
		stderr  string
	}{
		"success":              {func(context.Context) error { return nil }, 0, 0, ""},
		"failure":              {func(context.Context) error { return errBroken }, 0, 1, "api: broken\n"},
		"stopped by a signal":  {untilDone, 1, 0, ""},
		"fails while stopping": {func(ctx context.Context) error { <-ctx.Done(); return errBroken }, 1, 1, "api: broken\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signals := make(chan os.Signal, 2)
			for range tc.signals {
				signals <- syscall.SIGTERM
			}
			var stderr bytes.Buffer
			if got := supervise("api", tc.body, signals, &stderr); got != tc.code || stderr.String() != tc.stderr {
				t.Errorf("exit %d %q, want %d %q", got, &stderr, tc.code, tc.stderr)
			}
		})
	}
}

func TestSupervise_secondSignalExitsAtOnce(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	stuck := func(context.Context) error { <-release; return nil }
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGINT
	signals <- syscall.SIGINT
	if got := supervise("api", stuck, signals, io.Discard); got != 130 {
		t.Errorf("exit %d, want 130", got)
	}
}

func TestGroup_firstFailureStopsTheRestThenClosesInReverse(t *testing.T) {
	t.Parallel()
	g := NewGroup(slog.New(slog.DiscardHandler), time.Minute)
	var order []string
	note := func(name string, err error) func(context.Context) error {
		return func(context.Context) error { order = append(order, name); return err }
	}
	g.OnClose("database", note("database", nil))
	g.OnClose("queue", note("queue", errors.New("gone")))
	g.Add("finished", func(context.Context) error { return nil })
	g.Add("server", untilDone)
	g.Add("relay", func(context.Context) error { return errBroken })

	err := g.Run(context.Background())

	if want := "relay: broken\nclosing queue: gone"; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	if !errors.Is(err, errBroken) {
		t.Error("cause is lost")
	}
	if diff := cmp.Diff([]string{"queue", "database"}, order); diff != "" {
		t.Error(diff)
	}
}

func TestGroup_stopsCleanlyWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	g := NewGroup(slog.New(slog.DiscardHandler), time.Minute)
	g.Add("server", untilDone)
	g.Add("worker", func(ctx context.Context) error { cancel(); <-ctx.Done(); return nil })
	if err := g.Run(ctx); err != nil {
		t.Errorf("error = %v, want none", err)
	}
}

func TestGroup_namesWhatDoesNotStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		defer close(release)
		stuck := func(context.Context) error { <-release; return nil }
		g := NewGroup(slog.New(slog.DiscardHandler), 40*time.Second)
		g.Add("server", untilDone)
		g.Add("worker", stuck)
		g.OnClose("first", func(context.Context) error { return nil })
		g.OnClose("second", stuck)
		start := time.Now()
		err := g.Run(ctx)
		want := "still running 40s after the stop: worker\nclosing second: not done after 3s"
		if err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
		if got := time.Since(start); got != 43*time.Second {
			t.Errorf("took %s, want 43s", got)
		}
	})
}

func newTestServer(t *testing.T, grace time.Duration, handler http.HandlerFunc) *Server {
	t.Helper()
	s, err := NewServer(t.Context(), ServerConfig{
		Name: "test", Addr: "127.0.0.1:0", Handler: handler, Log: slog.New(slog.DiscardHandler), Grace: grace,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve runs s and returns the answer to one request during which the server
// was told to stop.
func stopDuringRequest(t *testing.T, s *Server, arrived <-chan struct{}) (status int, requestErr, runErr error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get("http://" + s.Addr())
		requestErr = err
		if err == nil {
			status = response.StatusCode
			_ = response.Body.Close()
		}
	}()
	<-arrived
	stop()
	runErr = <-ran
	<-answered
	return status, requestErr, runErr
}

func TestServer_finishesRequestsInFlight(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	s := newTestServer(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-time.After(100 * time.Millisecond): // the time of a request that outlives the stop
		case <-r.Context().Done():
			t.Error("the stop ended the request's context")
		}
		w.WriteHeader(http.StatusTeapot)
	})
	status, err, runErr := stopDuringRequest(t, s, arrived)
	if status != http.StatusTeapot || err != nil || runErr != nil {
		t.Errorf("status %d, request error %v, run error %v", status, err, runErr)
	}
}

func TestServer_cutsOffWhatOutlivesGrace(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	s := newTestServer(t, 50*time.Millisecond, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	})
	_, err, runErr := stopDuringRequest(t, s, arrived)
	if err == nil || runErr == nil || !strings.Contains(runErr.Error(), "still running 50ms after the stop") {
		t.Errorf("request error %v, run error %v", err, runErr)
	}
}

func TestNewServer_portInUse(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, 0, nil)
	defer func() { _ = s.Close() }()
	_, err := NewServer(t.Context(), ServerConfig{Name: "api", Addr: s.Addr(), Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.HasPrefix(err.Error(), "listening for api: ") {
		t.Errorf("error = %v", err)
	}
}

func TestWaitFor_logsWaitingAndArrival(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		start := time.Now()
		probe := func(ctx context.Context) error {
			if time.Since(start) < 30*time.Second {
				if time.Since(start) > 10*time.Second { // now it hangs instead of refusing
					<-ctx.Done()
					return context.Cause(ctx)
				}
				return errors.New("connection refused")
			}
			return nil
		}
		if err := WaitFor(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), "PostgreSQL", probe); err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(out.String(), `msg="waiting for PostgreSQL"`); got < 2 || got > 4 {
			t.Errorf("waiting was logged %d times in 30s:\n%s", got, &out)
		}
		for _, want := range []string{"connection refused", "PostgreSQL did not answer within 5s", `msg="PostgreSQL is there" waited=3`} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("log lacks %s:\n%s", want, &out)
			}
		}
	})
}

func TestWaitFor_endsWithContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errBroken)
		defer cancel()
		err := WaitFor(ctx, slog.New(slog.DiscardHandler), "Redis", func(context.Context) error { return errors.New("down") })
		if !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), "waiting for Redis: ") {
			t.Errorf("error = %v", err)
		}
	})
}
