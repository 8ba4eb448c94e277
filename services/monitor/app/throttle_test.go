package app

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestThrottle_perAddress(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	th := newThrottle(func() time.Time { return now })
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range addressBurst {
		if w := th.wait(a); w != 0 {
			t.Fatalf("after %d failures: wait %s", i, w)
		}
		th.failed(a)
	}
	if w := th.wait(a); w != addressRefill {
		t.Errorf("at the limit: wait %s, want %s", w, addressRefill)
	}
	if w := th.wait(b); w != 0 {
		t.Errorf("another address waits %s", w)
	}
	now = now.Add(addressRefill)
	if w := th.wait(a); w != 0 {
		t.Errorf("after a refill: wait %s", w)
	}
	th.failed(a)
	if w := th.wait(a); w != addressRefill {
		t.Errorf("after one more failure: wait %s", w)
	}
}

func TestThrottle_totalSparesWhoLoggedIn(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	th := newThrottle(func() time.Time { return now })
	operator, stranger := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	th.succeeded(operator)
	for i := range totalBurst {
		th.failed(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	}
	if w := th.wait(stranger); w != totalRefill {
		t.Errorf("stranger waits %s, want %s", w, totalRefill)
	}
	if w := th.wait(operator); w != 0 {
		t.Errorf("operator waits %s", w)
	}
	now = now.Add(trusted)
	for i := range totalBurst {
		th.failed(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
	}
	if w := th.wait(operator); w == 0 {
		t.Error("operator is trusted for ever")
	}
}

func TestThrottle_memoryIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	th := newThrottle(func() time.Time { return now })
	for i := range maxAddresses + 100 {
		th.failed(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if n := len(th.addresses); n > maxAddresses {
		t.Errorf("%d addresses kept", n)
	}
	now = now.Add(time.Hour)
	th.failed(netip.MustParseAddr("192.0.2.1"))
	if n := len(th.addresses); n != 1 {
		t.Errorf("%d addresses kept once the old ones were forgiven", n)
	}
}

func TestSource(t *testing.T) {
	t.Parallel()
	for remote, want := range map[string]string{
		"192.0.2.1:4711":                   "192.0.2.1",
		"[::ffff:192.0.2.1]:4711":          "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:4711":      "2001:db8:1:2::",
		"[fe80::1%eth0]:4711":              "fe80::",
		"something that is not an address": "invalid IP",
	} {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {"203.0.113.9"}}}
		if got := source(r).String(); got != want {
			t.Errorf("source(%s) = %s, want %s", remote, got, want)
		}
	}
}
