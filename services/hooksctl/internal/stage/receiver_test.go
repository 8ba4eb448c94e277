package stage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReceiver(t *testing.T) {
	t.Parallel()
	r, err := StartReceiver()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	post := func(path, delivery string, timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL(path), strings.NewReader(strings.Repeat("x", 10_000)))
		if err != nil {
			return err
		}
		req.Header.Set("Crm-Delivery-Id", delivery)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 || resp.StatusCode != http.StatusNoContent {
			return fmt.Errorf("%s, body %q, error %w", resp.Status, rest, err)
		}
		return nil
	}
	began := time.Now()
	for i, path := range []string{"/", "/slow/50?slow", "/any"} {
		if err := post(path, fmt.Sprint(i), 10*time.Second); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("/slow/50 and others took %s only", took)
	}
	if err := post("/hang?hung", "3", 50*time.Millisecond); err == nil {
		t.Error("/hang answers")
	}
	tally, err := r.Await(t.Context(), 4)
	if err != nil || tally.Count != 4 || tally.Span() < 50*time.Millisecond {
		t.Errorf("tally %+v, error %v", tally, err)
	}
	arrivals, err := r.Arrivals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range arrivals {
		got = append(got, fmt.Sprintf("%s %q %t", a.Delivery, a.Name, a.Answered))
		if lasted := time.Duration(a.Ended - a.Nanos); lasted < 0 || a.Name == "slow" && lasted < 50*time.Millisecond {
			t.Errorf("request %q lasted %s", a.Name, lasted)
		}
	}
	if diff := cmp.Diff([]string{`0 "" true`, `1 "slow" true`, `2 "" true`, `3 "hung" false`}, got); diff != "" {
		t.Errorf("arrivals (-want +got):\n%s", diff)
	}
	if err := r.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tally, err := r.Tally(t.Context()); err != nil || tally != (Tally{}) {
		t.Errorf("after a reset: %+v, error %v", tally, err)
	}
}
