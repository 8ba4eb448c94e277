package sender_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// only returns the one request that r got.
func only(t *testing.T, r *sendertest.Receiver) sendertest.Request {
	t.Helper()
	got := r.Requests()
	if len(got) != 1 {
		t.Fatalf("the receiver got %d requests, want 1", len(got))
	}
	return got[0]
}

func TestSend_requestOfTheContract(t *testing.T) {
	t.Parallel()
	now := time.Now()
	r := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{Version: "1.2.3", Now: func() time.Time { return now }})
	req := request(t, r.URL)
	req.Attempt = 7
	req.Headers = []webhook.Header{{Name: "X-Api-Key", Value: "key in a header"}, {Name: "X-Team", Value: "sales"}}
	req.TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := send(t, s, req)

	got := only(t, r)
	if got.Lines[0] != "POST /hook?token=in-the-url HTTP/1.1" {
		t.Errorf("request line = %q", got.Lines[0])
	}
	names := make([]string, 0, len(got.Lines))
	for _, line := range got.Lines[1:] {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	slices.Sort(names)
	want := []string{
		"Content-Length", "Content-Type", "Crm-Attempt", "Crm-Delivery-Id", "Crm-Event-Type", "Host", "User-Agent",
		"X-Api-Key", "X-Team", "traceparent", "webhook-id", "webhook-signature", "webhook-timestamp",
	}
	if !slices.Equal(names, want) {
		t.Errorf("headers = %q, want %q", names, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "crm-webhooks/1.2.3", "Crm-Attempt": "7",
		"Crm-Delivery-Id": req.Delivery.String(), "Crm-Event-Type": "lead.created", "Webhook-Id": req.Event.String(),
		"X-Api-Key": "key in a header", "X-Team": "sales",
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if tp := got.Header.Get("Traceparent"); !strings.HasPrefix(tp, "00-0af7651916cd43dd8448eb211c80319c-") ||
		!strings.HasSuffix(tp, "-01") || strings.Contains(tp, "b7ad6b7169203331") || len(tp) != 55 {
		t.Errorf("traceparent = %q, want a new span of the event's trace", tp)
	}
	checkSignature(t, got)
	checkRecorded(t, a, got)
}

// checkSignature asks the reference library.
func checkSignature(t *testing.T, got sendertest.Request) {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify([]byte(got.Body), got.Header); err != nil {
		t.Errorf("the reference library refuses the request: %v", err)
	}
}

func checkRecorded(t *testing.T, a webhook.Attempt, got sendertest.Request) {
	t.Helper()
	recorded := http.Header{}
	for _, f := range a.RequestHeaders {
		recorded.Add(f.Name, f.Value)
		if strings.Contains(f.Value, "key in a header") {
			t.Errorf("a credential is recorded in %s", f.Name)
		}
	}
	for name := range recorded {
		if name != "X-Api-Key" && recorded.Get(name) != got.Header.Get(name) {
			t.Errorf("recorded %s = %q, sent %q", name, recorded.Get(name), got.Header.Get(name))
		}
	}
	if len(recorded) != len(got.Header)-2 { // Host, Content-Length
		t.Errorf("recorded %d headers of %d", len(recorded), len(got.Header))
	}
}

func TestI8_sameBytesOnEveryAttempt(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Status(500))
	s := newSender(t, sender.Config{})
	req := request(t, r.URL)
	req.Body = "{\"name\":\"Zo\u00eb \U0001F600\",\"n\":1.0,  \"big\":\"" + strings.Repeat("\u00e9", 100_000) + "\"}\n"
	for n := range 3 {
		req.Attempt = n + 1
		send(t, s, req)
	}
	got := r.Requests()
	if len(got) != 3 {
		t.Fatalf("%d requests, want 3", len(got))
	}
	for i, g := range got {
		if g.Body != req.Body {
			t.Errorf("attempt %d sent other bytes than were stored", i+1)
		}
		checkSignature(t, g)
	}
}

// Which secrets sign is decided when the request is made.
func TestSend_rotation(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const next = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	for name, tc := range map[string]struct {
		expires time.Time
		want    int
	}{
		"old secret lives on": {now.Add(time.Second), 2},
		"old secret expired":  {now, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sendertest.New(t, sendertest.Behaviour{})
			s := newSender(t, sender.Config{Now: func() time.Time { return now }})
			req := request(t, r.URL)
			req.Secrets = []webhook.SigningSecret{
				{Secret: secretOf(t, next)},
				{Secret: secretOf(t, testSecret), ExpiresAt: tc.expires},
			}
			send(t, s, req)
			got := only(t, r)
			if n := len(strings.Fields(got.Header.Get("Webhook-Signature"))); n != tc.want {
				t.Fatalf("%d signatures, want %d", n, tc.want)
			}
			if tc.want == 2 {
				checkSignature(t, got)
			}
		})
	}
}

func TestSend_neverUnsigned(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{})
	for _, secrets := range [][]webhook.SigningSecret{nil, {{}}, {{Secret: secretOf(t, testSecret), ExpiresAt: time.Unix(1, 0)}}} {
		req := request(t, r.URL)
		req.Secrets = secrets
		if a := send(t, s, req); a.OK() {
			t.Errorf("sent with the secrets %v", secrets)
		}
	}
	if n := r.Connections(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}

func TestSend_customHeadersCannotOverride(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{})
	req := request(t, r.URL)
	for _, name := range []string{
		"Webhook-Id", "webhook-signature", "WEBHOOK-TIMESTAMP", "crm-attempt", "Traceparent", "user-agent", "content-type", "Content-Length",
		"Transfer-Encoding", "Connection", "Host", "Expect", "Accept-Encoding", "Trailer", "TE", "Upgrade",
	} {
		req.Headers = append(req.Headers, webhook.Header{Name: name, Value: "forged"})
	}
	a := send(t, s, req)
	got := only(t, r)
	if !a.OK() || strings.Contains(strings.Join(got.Lines, "\n"), "forged") || strings.Contains(strings.Join(got.Lines, "\n"), "chunked") {
		t.Errorf("class %q, sent %q", a.ErrorClass, got.Lines)
	}
	checkSignature(t, got)
}

func TestSend_invalidCustomHeader(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{})
	for _, h := range []webhook.Header{{Name: "X-A\r\nX-B", Value: "x"}, {Name: "X-A", Value: "hidden\r\nX-B: x"}, {Name: "", Value: "x"}} {
		req := request(t, r.URL)
		req.Headers = []webhook.Header{h}
		a := send(t, s, req)
		checkAttempt(t, sendertest.Want{Class: webhook.ClassConnect, Text: "a custom header of the webhook is not valid"}, a)
		if strings.Contains(a.Error, "hidden") {
			t.Errorf("the error %q shows a header's value", a.Error)
		}
	}
	if n := r.Connections(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}

// Userinfo makes a URL read one way and lead another: refused, wherever it leads.
func TestSend_credentialsInTheURL(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{})
	for _, userinfo := range []string{"in-the-url:pw@", "in-the-url@", "@", "example.com:443@"} {
		a := send(t, s, request(t, strings.Replace(r.URL, "://", "://"+userinfo, 1)))
		checkAttempt(t, sendertest.Want{Class: webhook.ClassConnect, Text: "the webhook's URL contains credentials"}, a)
	}
	if n := r.Connections(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}
