package webhook_test

import (
	"net/netip"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Each denied network is tried at its first, its last and its neighbouring addresses.
func TestPublicAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"0.0.0.0": false, "0.255.255.255": false, "1.0.0.0": true,
		"9.255.255.255": true, "10.0.0.0": false, "10.255.255.255": false, "11.0.0.0": true,
		"100.63.255.255": true, "100.64.0.0": false, "100.127.255.255": false, "100.128.0.0": true,
		"126.255.255.255": true, "127.0.0.1": false, "127.255.255.255": false, "128.0.0.0": true,
		"169.253.255.255": true, "169.254.0.0": false, "169.254.169.254": false, "169.255.0.0": true,
		"172.15.255.255": true, "172.16.0.0": false, "172.31.255.255": false, "172.32.0.0": true,
		"191.255.255.255": true, "192.0.0.0": false, "192.0.0.255": false, "192.0.1.0": true,
		"192.0.2.0": false, "192.0.2.255": false, "192.0.3.0": true,
		"192.88.98.255": true, "192.88.99.0": false, "192.88.99.255": false, "192.88.100.0": true,
		"192.167.255.255": true, "192.168.0.0": false, "192.168.255.255": false, "192.169.0.0": true,
		"198.17.255.255": true, "198.18.0.0": false, "198.19.255.255": false, "198.20.0.0": true,
		"198.51.99.255": true, "198.51.100.0": false, "198.51.100.255": false, "198.51.101.0": true,
		"203.0.112.255": true, "203.0.113.0": false, "203.0.113.255": false, "203.0.114.0": true,
		"223.255.255.255": true, "224.0.0.0": false, "239.255.255.255": false, "240.0.0.0": false, "255.255.255.255": false,
		"8.8.8.8": true,

		"::": false, "::1": false, "::8.8.8.8": false, "64:ff9b::808:808": false, "100::1": false,
		"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": false, "2000::": true,
		"2000:ffff::1": true, "2001::": false, "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff": false, "2001:200::": true,
		"2001:db7:ffff::1": true, "2001:db8::": false, "2001:db8:ffff::1": false, "2001:db9::": true,
		"2001:ffff::1": true, "2002::": false, "2002:7f00:1::": false, "2003::": true,
		"2620:4f:7fff::1": true, "2620:4f:8000::1": false, "2620:4f:8001::": true,
		"3ffe:ffff::1": true, "3fff::": false, "3fff:fff:ffff::1": false, "3fff:1000::": true, "3fff:ffff::1": true,
		"4000::": false, "fc00::1": false, "fd12:3456::1": false, "fe80::1": false, "fec0::1": false, "ff02::1": false,
		"2606:4700:4700::1111": true,

		"::ffff:8.8.8.8": true, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "2606:4700:4700::1111%eth0": false,
	} {
		if got := webhook.PublicAddress(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s public: %t, want %t", text, got, want)
		}
	}
	if webhook.PublicAddress(netip.Addr{}) {
		t.Error("the zero address is public")
	}
}

func TestReachableAddress(t *testing.T) {
	t.Parallel()
	allowed := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for text, want := range map[string]bool{
		"8.8.8.8": true, "127.0.0.1": true, "::ffff:127.0.0.1": true, "fd00::1": true,
		"10.0.0.1": false, "::1": false, "fd00::1%eth0": false, "fe80::1": false,
	} {
		if got := webhook.ReachableAddress(netip.MustParseAddr(text), allowed); got != want {
			t.Errorf("%s reachable: %t, want %t", text, got, want)
		}
	}
	if webhook.ReachableAddress(netip.Addr{}, allowed) {
		t.Error("the zero address is reachable")
	}
}
