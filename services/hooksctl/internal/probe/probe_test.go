package probe_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommand(t *testing.T) {
	t.Parallel()
	stop := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/up":
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			<-stop
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(stop) })
	for path, want := range map[string]string{"/up": "", "/down": "answers 503", "/hangs": "no answer within 50ms"} {
		cmd := probe.Command{URL: server.URL + path, Timeout: 50 * time.Millisecond}
		if want == "" || want == "answers 503" {
			cmd.Timeout = 10 * time.Second
		}
		err := cmd.Run(t.Context(), console.New(nil, io.Discard, io.Discard, nil))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
}
