package sender_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// TestMain runs everything with a proxy in the environment: one that takes
// connections and never answers.
func TestMain(m *testing.M) {
	proxy, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		if err := os.Setenv(name, "http://"+proxy.Addr().String()); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func newSender(t testing.TB, c sender.Config) *sender.Sender {
	t.Helper()
	if c.AllowedNetworks == nil {
		c.AllowedNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	if c.RootCAs == nil {
		roots, err := sendertest.RootCAs()
		if err != nil {
			t.Fatal(err)
		}
		c.RootCAs = roots
	}
	s, err := sender.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func secretOf(t testing.TB, text string) webhook.Secret {
	t.Helper()
	s, err := webhook.ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(t testing.TB, url string) sender.Request {
	t.Helper()
	eventType, err := webhook.ParseEventType("lead.created")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	event := webhook.NewEventID(now, [10]byte{1})
	return sender.Request{
		Delivery:  webhook.DeliveryIDFor(event, webhook.NewWebhookID(now, [10]byte{2})),
		Event:     event,
		EventType: eventType,
		Attempt:   1,
		URL:       url,
		Secrets:   []webhook.SigningSecret{{Secret: secretOf(t, testSecret)}},
		Body:      `{"id":"evt_1","data":"in the body"}`,
		Timeout:   10 * time.Second,
	}
}

func send(t testing.TB, s *sender.Sender, r sender.Request) webhook.Attempt {
	t.Helper()
	a, err := s.Send(context.Background(), r)
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return a
}
