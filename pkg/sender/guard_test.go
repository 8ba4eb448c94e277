package sender

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func testGuard(t *testing.T, allowed ...string) *guard {
	t.Helper()
	networks := make([]netip.Prefix, len(allowed))
	for i, text := range allowed {
		networks[i] = netip.MustParsePrefix(text)
	}
	g, err := newGuard(networks, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestI6_guardRefuses(t *testing.T) {
	t.Parallel()
	g := testGuard(t)
	for _, addr := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1",
		"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.168.255.255", "192.175.48.1", "198.18.0.1", "198.19.255.255",
		"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]",
		"[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[100::1]", "[2001::1]", "[2001:2::1]", "[2001:db8::1]",
		"[2001:0:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2620:4f:8000::1]", "[3fff::1]", "[4000::1]", "[5f00::1]", "[fc00::1]", "[fd00:ec2::254]",
		"[fe80::1]", "[fe80::1%lo]", "[fe80::1%eth0]", "[2a00:1450:4001::1%eth0]", "[fec0::1]", "[ff02::1]", "[ff0e::1]",
	} {
		for _, port := range []string{":80", ":443", ":8080"} {
			err := g.control(t.Context(), "tcp", addr+port, nil)
			if err == nil || !strings.HasSuffix(err.Error(), "is not public") {
				t.Errorf("%s%s: error = %v, want a refusal", addr, port, err)
			}
		}
	}
	for _, address := range []string{"", "localhost:80", "127.0.0.1", "1.1.1.1", "1.1.1.1:", "1.1.1.1:http", "[::1", "example.com:443"} {
		if err := g.control(t.Context(), "tcp", address, nil); err == nil {
			t.Errorf("%q is let through although it cannot be checked", address)
		}
	}
}

func TestI6_guardPermits(t *testing.T) {
	t.Parallel()
	g := testGuard(t)
	for _, addr := range []string{
		"1.1.1.1:443", "8.8.8.8:80", "9.255.255.255:443", "11.0.0.1:8443", "172.15.255.255:443", "172.32.0.1:443", "100.63.255.255:443",
		"100.128.0.1:443", "223.255.255.255:65535", "[2606:4700:4700::1111]:443", "[2a00:1450:4001:81b::200e]:443", "[::ffff:1.1.1.1]:443",
	} {
		if err := g.control(t.Context(), "tcp", addr, nil); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestI6_guardRefusesPortsOfOtherProtocols(t *testing.T) {
	t.Parallel()
	g := testGuard(t, "127.0.0.0/8")
	for _, address := range []string{"1.1.1.1:25", "1.1.1.1:0", "127.0.0.1:22", "127.0.0.1:6000", "[2606:4700:4700::1111]:10080"} {
		if err := g.control(t.Context(), "tcp", address, nil); err == nil || !strings.Contains(err.Error(), "another protocol") {
			t.Errorf("%s: error = %v, want a refusal of the port", address, err)
		}
	}
}

func TestI6_guardAllowList(t *testing.T) {
	t.Parallel()
	g := testGuard(t, "127.0.0.1/32", "10.1.2.3/16", "fd00::/8")
	for addr, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.2": false, "10.1.255.1": true, "10.2.0.1": false, "fd12::1": true, "fc00::1": false,
		"::1": false, "1.1.1.1": true, "fd12::1%eth0": false,
	} {
		a := netip.MustParseAddr(addr)
		if got := g.reachable(a); got != want {
			t.Errorf("reachable(%s) = %t, want %t", addr, got, want)
		}
	}
	if err := g.control(t.Context(), "tcp", "[::ffff:127.0.0.1]:8080", nil); err != nil {
		t.Errorf("the mapped form of an allowed address: %v", err)
	}
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("::ffff:10.0.0.0/104")} {
		if _, err := newGuard([]netip.Prefix{bad}, nil); err == nil {
			t.Errorf("newGuard took %v", bad)
		}
	}
}

func TestI6_guardRefusesThisHostsAddresses(t *testing.T) {
	t.Parallel()
	public := netip.MustParseAddr("8.8.4.4")
	for name, tc := range map[string]struct {
		guard *guard
		want  bool
	}{
		"not allowed": {testGuard(t), false},
		"allowed":     {testGuard(t, "8.8.4.4/32"), true},
	} {
		tc.guard.own.addrs[public] = true
		if got := tc.guard.reachable(public); got != tc.want {
			t.Errorf("%s: reachable = %t, want %t", name, got, tc.want)
		}
	}
	if g := testGuard(t); len(g.own.addrs) == 0 {
		t.Error("the guard knows no address of this host")
	}
}

// The ports are those of the WHATWG Fetch standard, and all others are open.
func TestI6_guardOpensAllOtherPorts(t *testing.T) {
	t.Parallel()
	g := testGuard(t)
	closed := map[int]bool{}
	for _, port := range []int{
		0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110, 111, 113, 115, 117, 119,
		123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993,
		995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
	} {
		closed[port] = true
	}
	for port := range 1 << 16 {
		err := g.control(t.Context(), "tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{1, 1, 1, 1}), uint16(port)).String(), nil)
		if (err != nil) != closed[port] {
			t.Errorf("port %d: error = %v, want it closed: %t", port, err, closed[port])
		}
	}
}

// What the domain calls public at registration, and what the dialer permits, may
// differ in one direction only.
func TestI6_guardIsNoLaxerThanTheDomain(t *testing.T) {
	t.Parallel()
	g := testGuard(t)
	for hi := range 256 {
		for lo := range 256 {
			v4 := netip.AddrFrom4([4]byte{byte(hi), byte(lo), 1, 1})
			v6 := netip.AddrFrom16([16]byte{byte(hi), byte(lo), 15: 1})
			for _, a := range []netip.Addr{v4, v6} {
				if g.reachable(a) && !webhook.PublicAddress(a) {
					t.Errorf("%s is dialled although the domain says that it is not public", a)
				}
			}
		}
	}
}

func TestI6_guardBlockListWins(t *testing.T) {
	t.Parallel()
	g, err := newGuard([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		[]netip.Prefix{netip.MustParsePrefix("8.8.8.0/24"), netip.MustParsePrefix("127.0.0.9/32")})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{"8.8.8.8": false, "8.8.4.4": true, "127.0.0.9": false, "127.0.0.1": true} {
		if got := g.reachable(netip.MustParseAddr(address)); got != want {
			t.Errorf("reachable(%s) = %t, want %t", address, got, want)
		}
	}
}
