package sender_test

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// dnsServer answers over UDP, as a name server on the internet does, until the
// test ends. Its answers may be kept for no time at all.
func dnsServer(t *testing.T, z zone) *net.Resolver {
	t.Helper()
	socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go func() { // ends with the socket
		query := make([]byte, 1500)
		for {
			n, from, err := socket.ReadFrom(query)
			if err != nil {
				return
			}
			if reply := answerDNS(query[:n], z); reply != nil {
				_, _ = socket.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", socket.LocalAddr().String())
	}}
}

// A name server that says something else each time it is asked: whoever looks
// first and dials by name then is led inside.
func TestI6_nameServerThatChangesItsMind(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	private := inside(t, r)
	var asked atomic.Int32
	s := newSender(t, sender.Config{
		AllowedNetworks: only1(),
		Resolver: dnsServer(t, func(string) ([]string, byte) {
			// A lookup asks twice, for either family, at once.
			if asked.Add(1)/2%2 == 0 {
				return []string{"127.0.0.1"}, noError
			}
			return []string{"127.0.0.2"}, noError
		}),
	})
	url := "http://rebind.test:" + strconv.Itoa(r.Port()) + "/"
	if _, err := (webhook.URLRules{AllowHTTP: true}).Parse(url); err != nil {
		t.Fatalf("the name is refused before it is resolved: %v", err)
	}
	ends := map[webhook.ErrorClass]int{}
	for range 40 {
		a := send(t, s, request(t, url))
		ends[a.ErrorClass]++
		s.Close() // a kept connection would spare the next lookup
	}
	if n := private.Connections(); n != 0 {
		t.Errorf("%d connections to the private address, want none", n)
	}
	if ends[webhook.NoError] == 0 || ends[webhook.ClassBlocked] == 0 || ends[webhook.NoError]+ends[webhook.ClassBlocked] != 40 {
		t.Errorf("40 attempts ended %v, want some in success and the others blocked", ends)
	}
}

// TestMain names a proxy in every variable that there is. It never answers.
func TestI6_proxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	t.Parallel()
	names := resolver(t, func(string) ([]string, byte) { return []string{"127.0.0.1"}, noError })
	for _, variant := range []sendertest.Variant{sendertest.Plain, sendertest.Valid} {
		r := sendertest.New(t, sendertest.Behaviour{TLS: variant})
		s := newSender(t, sender.Config{Resolver: names})
		// A name: the loopback address is not proxied anyway.
		req := request(t, strings.Replace(r.URL, "127.0.0.1", "receiver.test", 1))
		if a := send(t, s, req); !a.OK() || len(r.Requests()) != 1 {
			t.Errorf("class %q (%s), %d requests arrived, want one", a.ErrorClass, a.Error, len(r.Requests()))
		}
	}
}

// Networks open addresses and nothing else: not the names beside them, not the
// other forms of an address, no port.
func TestI6_allowedNetworksOpenByAddressOnly(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{
		AllowedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
		Resolver:        resolver(t, func(string) ([]string, byte) { return []string{"127.0.0.1"}, noError }),
	})
	port := ":" + strconv.Itoa(r.Port()) + "/"
	for _, host := range []string{"127.0.0.1", "localhost", "127.0.0.2.test", "127-0-0-2.test", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:2]", "[2002:7f00:2::]", "[::127.0.0.2]"} {
		a := send(t, s, request(t, "http://"+host+port))
		if a.ErrorClass != webhook.ClassBlocked {
			t.Errorf("%s: class %q: %s", host, a.ErrorClass, a.Error)
		}
	}
	if n := r.Connections(); n != 0 {
		t.Errorf("%d connections, want none", n)
	}
}
