package sender

import (
	"net"
	"net/netip"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// FuzzGuard: what the guard lets through is one public address without a zone,
// at a port of no other protocol.
func FuzzGuard(f *testing.F) {
	for _, seed := range []string{
		"1.1.1.1:443", "127.0.0.1:80", "[::ffff:10.0.0.1]:80", "[fe80::1%eth0]:80", "[2a00::1%25lo]:80", "[64:ff9b::7f00:1]:80", "[2002:a00:1::]:80",
		"[2001:0:7f00:1::]:80", "0177.0.0.1:80", "2130706433:80", "0x7f.1:80", "127.1:80", "1.1.1.1:25", "1.1.1.1:http", "1.1.1.1:080", "", ":80", "[::]:80",
		"\u2460\u2461\u2466.0.0.1:80", "1.1.1.1\x00:80",
	} {
		f.Add(seed)
	}
	g, err := newGuard(nil, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, address string) {
		if g.control(t.Context(), "tcp", address, nil) != nil {
			return
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil || !webhook.PublicAddress(at.Addr()) || webhook.ForbiddenPort(int(at.Port())) {
			t.Errorf("%q is let through", address)
		}
		// And for the library that most people ask.
		ip := net.IP(at.Addr().AsSlice())
		if ip.IsPrivate() || ip.IsLoopback() || !ip.IsGlobalUnicast() {
			t.Errorf("%q is let through although %s is no global address", address, ip)
		}
	})
}

func FuzzTraceParent(f *testing.F) {
	for _, seed := range []string{
		"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
		"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-00000000000000000000000000000000-0000000000000000-00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, parent string) {
		if child := childSpan(parent); !validTraceParent(child) || child == parent {
			t.Errorf("childSpan(%q) = %q", parent, child)
		}
	})
}
