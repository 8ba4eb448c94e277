package app

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// guessing is a throttle with a clock that stands still, and who guesses.
type guessing struct {
	*throttle
	clock time.Time
}

func newGuessing() *guessing {
	g := &guessing{clock: time.Unix(1_800_000_000, 0)}
	g.throttle = newThrottle(func() time.Time { return g.clock })
	return g
}

func wrong() bool { return false }
func right() bool { return true }

// fail guesses wrong, and returns how long to wait when that was not allowed.
func (g *guessing) fail(a netip.Addr) time.Duration {
	_, wait := g.attempt(a, wrong)
	return wait
}

func TestThrottle_perAddress(t *testing.T) {
	t.Parallel()
	g := newGuessing()
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for i := range addressBurst {
		if w := g.fail(a); w != 0 {
			t.Fatalf("after %d failures: wait %s", i, w)
		}
	}
	if in, w := g.attempt(a, right); in || w != addressRefill {
		t.Errorf("at the limit: in %t, wait %s, want %s", in, w, addressRefill)
	}
	if w := g.fail(b); w != 0 {
		t.Errorf("another address waits %s", w)
	}
	g.clock = g.clock.Add(addressRefill)
	if w := g.fail(a); w != 0 {
		t.Errorf("after a refill: wait %s", w)
	}
	if w := g.fail(a); w != addressRefill {
		t.Errorf("after one more failure: wait %s", w)
	}
}

func TestThrottle_guessesAtTheSameTimeAllCount(t *testing.T) {
	t.Parallel()
	g := newGuessing()
	var tries atomic.Int64
	var all sync.WaitGroup
	for range 10 * addressBurst {
		all.Go(func() {
			g.attempt(netip.MustParseAddr("192.0.2.1"), func() bool {
				tries.Add(1)
				<-time.After(time.Millisecond) // others have the time to come in between
				return false
			})
		})
	}
	all.Wait()
	if n := tries.Load(); n != addressBurst {
		t.Errorf("%d guesses at the same time, want %d", n, addressBurst)
	}
}

func TestThrottle_totalSparesWhoLoggedIn(t *testing.T) {
	t.Parallel()
	g := newGuessing()
	operator, stranger := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	if in, _ := g.attempt(operator, right); !in {
		t.Fatal("not in")
	}
	guessAround := func() {
		for i := range totalBurst {
			g.fail(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}))
		}
	}
	guessAround()
	if w := g.fail(stranger); w != totalRefill {
		t.Errorf("stranger waits %s, want %s", w, totalRefill)
	}
	if in, w := g.attempt(operator, right); !in {
		t.Errorf("operator waits %s", w)
	}
	g.clock = g.clock.Add(trusted)
	guessAround()
	if in, _ := g.attempt(operator, right); in {
		t.Error("operator is trusted for ever")
	}
}

func TestThrottle_memoryIsBounded(t *testing.T) {
	t.Parallel()
	g := newGuessing()
	for i := range maxAddresses + 100 {
		g.attempt(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), right)
	}
	if n := len(g.addresses); n != maxAddresses {
		t.Errorf("%d addresses kept, want %d", n, maxAddresses)
	}
	g.clock = g.clock.Add(trusted)
	g.fail(netip.MustParseAddr("192.0.2.1"))
	if n := len(g.addresses); n != 1 {
		t.Errorf("%d addresses kept once the old ones were forgotten", n)
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
