package stage

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// ReceiverCommand is the first argument by which a program that stages a
// receiver starts itself anew; it then calls Receive and nothing else.
const ReceiverCommand = "receiver"

// Receive is the receiver's process. It says on out where it listens, and ends
// when in does.
func Receive(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hooks, err := listen(ctx)
	if err != nil {
		return err
	}
	control, err := listen(ctx)
	if err != nil {
		return errors.Join(err, hooks.Close())
	}
	var s sink
	server := &http.Server{Handler: s.control(), ReadHeaderTimeout: time.Second}
	var g errgroup.Group
	g.Go(func() error { return s.serve(hooks) })
	g.Go(func() error {
		if err := server.Serve(control); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	go func() { // ends with in, which ends with the process that started us
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	_, err = fmt.Fprintln(out, hooks.Addr(), control.Addr())
	if err == nil {
		<-ctx.Done()
	}
	return errors.Join(err, hooks.Close(), server.Close(), g.Wait())
}

func listen(ctx context.Context) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	return l, nil
}

// control serves what is known about arrivals.
func (s *sink) control() http.Handler {
	answer := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) } // a client that is gone needs none
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tally", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.tally()) })
	mux.HandleFunc("GET /arrivals", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.all()) })
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) { s.reset(); answer(w, Tally{}) })
	return mux
}

// Receiver is a receiver in a process of its own.
type Receiver struct {
	proc    *process
	stdin   io.Closer
	hooks   string
	control string
	client  *http.Client
}

// StartReceiver starts this program anew as a receiver.
func StartReceiver() (*Receiver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.Command(self, ReceiverCommand) //nolint:noctx // Close ends it
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting receiver: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting receiver: %w", err)
	}
	r := &Receiver{stdin: stdin, client: &http.Client{Transport: &http.Transport{}}}
	if r.proc, err = startProcess("receiver", cmd); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting receiver: %w", err), r.proc.kill())
	}
	r.hooks, r.control, _ = strings.Cut(strings.TrimSpace(line), " ")
	return r, nil
}

// Close ends the process.
func (r *Receiver) Close() error {
	r.client.CloseIdleConnections()
	_ = r.stdin.Close() // which ends it; a process that has ended has closed it
	return r.proc.kill()
}

// Addr is where the receiver listens.
func (r *Receiver) Addr() string { return r.hooks }

// URL is where to send: /slow/<milliseconds> is slow, /flaky/<milliseconds> is too
// and refuses the first attempt of what Refuses names, /refuse answers 500, /hang not
// at all, any other path at once. A query names the request's Arrival.
func (r *Receiver) URL(path string) string { return "http://" + r.hooks + path }

// Reset forgets what came.
func (r *Receiver) Reset(ctx context.Context) error {
	return r.call(ctx, http.MethodPost, "/reset", new(Tally))
}

// Tally sums up what came since the last Reset.
func (r *Receiver) Tally(ctx context.Context) (t Tally, err error) {
	return t, r.call(ctx, http.MethodGet, "/tally", &t)
}

// Arrivals lists what came since the last Reset.
func (r *Receiver) Arrivals(ctx context.Context) (all []Arrival, err error) {
	return all, r.call(ctx, http.MethodGet, "/arrivals", &all)
}

// Await returns when n requests have come.
func (r *Receiver) Await(ctx context.Context, n int) (t Tally, err error) {
	err = poll(ctx, 5*time.Millisecond, func(ctx context.Context) (err error) {
		if t, err = r.Tally(ctx); err != nil {
			return err
		}
		if t.Count < n {
			return fmt.Errorf("%d of %d requests came", t.Count, n)
		}
		return nil
	})
	return t, err
}

func (r *Receiver) call(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.control+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("asking receiver: %w", err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return fmt.Errorf("asking receiver: %w", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("asking receiver: %w", err)
	}
	return nil
}
