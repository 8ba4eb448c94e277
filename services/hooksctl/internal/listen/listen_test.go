package listen_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// listener is a running command.
type listener struct {
	url   string
	lines *bufio.Scanner
}

func start(t *testing.T, cmd listen.Command) *listener {
	t.Helper()
	cmd.Addr = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Run(ctx, console.New(nil, writer, io.Discard, nil)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	l := &listener{lines: bufio.NewScanner(reader)}
	l.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(l.line())
	return l
}

func (l *listener) line() string {
	l.lines.Scan()
	return l.lines.Text()
}

// post sends a signed request and returns its status and the line about it.
func (l *listener) post(t *testing.T, secret, body string) (int, string) {
	t.Helper()
	webhook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	signed, err := webhook.Sign("evt_1", now, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, l.url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Webhook-Id", "evt_1")
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", signed)
	req.Header.Set("Crm-Event-Type", "lead.created")
	status := make(chan int, 1)
	go func() { // the line comes before the answer; both are waited for
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		_ = resp.Body.Close()
		status <- resp.StatusCode
	}()
	line := l.line()
	return <-status, line
}

func TestCommand_verifiesAndPrints(t *testing.T) {
	t.Parallel()
	l := start(t, listen.Command{Secret: []string{"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", secret}, Every: 1})
	if status, line := l.post(t, secret, `{"a":1}`); status != 204 || !strings.Contains(line, "lead.created  evt_1  attempt -  7 bytes  verified") {
		t.Errorf("good request: %d, %s", status, line)
	}
	if status, line := l.post(t, "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB", `{"a":1}`); status != 401 || !strings.Contains(line, "FAIL") {
		t.Errorf("request of a stranger: %d, %s", status, line)
	}
}

func TestCommand_failsOnDemand(t *testing.T) {
	t.Parallel()
	l := start(t, listen.Command{Secret: []string{secret}, Status: 500, Every: 3, Body: true})
	for i, want := range []int{204, 204, 500, 204} {
		status, line := l.post(t, secret, `"x"`)
		if body := l.line(); status != want || !strings.Contains(line, "answered") || body != `"x"` {
			t.Errorf("request %d: %d, want %d; %s; body %s", i+1, status, want, line, body)
		}
	}
}
