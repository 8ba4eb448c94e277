package sender_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// What a fake DNS server can say besides addresses.
const (
	noError    = 0
	serverFail = 2
	noSuchName = 3
)

// zone answers a lookup: addresses of both families, or a response code.
type zone func(name string) ([]string, byte)

// resolver asks z instead of a DNS server, until the test ends.
func resolver(t *testing.T, z zone) *net.Resolver {
	t.Helper()
	ctx, hangUp := context.WithCancel(context.Background())
	t.Cleanup(hangUp)
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		client, server := net.Pipe()
		context.AfterFunc(ctx, func() { _ = server.Close() })
		go serveDNS(server, z) // ends when either half is closed
		return client, nil
	}}
}

// serveDNS speaks DNS over a stream: two bytes of length before each message.
func serveDNS(conn net.Conn, z zone) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, query); err != nil {
			return
		}
		reply := answerDNS(query, z)
		if reply == nil {
			continue
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)); err != nil {
			return
		}
	}
}

func answerDNS(query []byte, z zone) []byte {
	const header = 12
	end := header
	var labels []string
	for query[end] != 0 {
		n := int(query[end])
		labels = append(labels, string(query[end+1:end+1+n]))
		end += n + 1
	}
	end += 5 // the root label, type and class
	wantsIPv6 := query[end-3] == 28
	texts, code := z(strings.Join(labels, "."))
	if code == noError && texts == nil {
		return nil // silence
	}
	var records []byte
	count := byte(0)
	for _, text := range texts {
		addr := netip.MustParseAddr(text)
		if addr.Is6() != wantsIPv6 {
			continue
		}
		raw := addr.AsSlice()
		records = append(records, 0xc0, header, 0, query[end-3], 0, 1, 0, 0, 0, 0, 0, byte(len(raw)))
		records = append(records, raw...)
		count++
	}
	reply := append([]byte{}, query[:end]...)
	copy(reply[2:header], []byte{0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0})
	return append(reply, records...)
}

func only1() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }

// inside starts a receiver on an address that is not allowed, at the same port as
// r: what must never be reached.
func inside(t *testing.T, r *sendertest.Receiver) *sendertest.Receiver {
	t.Helper()
	secret, err := sendertest.Start("127.0.0.2:"+strconv.Itoa(r.Port()), sendertest.Behaviour{})
	if err != nil {
		t.Skipf("this system has no 127.0.0.2: %v", err)
	}
	t.Cleanup(secret.Close)
	return secret
}

// However an inside address is spelled, nobody dials it.
func TestI6_spellings(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	s := newSender(t, sender.Config{
		AllowedNetworks: []netip.Prefix{},
		Resolver: resolver(t, func(name string) ([]string, byte) {
			if strings.HasSuffix(name, ".inside.test") {
				return []string{"127.0.0.1", "::1"}, noError
			}
			return nil, noSuchName
		}),
	})
	port := ":" + strconv.Itoa(r.Port())
	for _, host := range []string{
		"127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "017700000001", "0177.0.0.1", "0177.1",
		"127.000.000.001", "0", "0.0.0.0", "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::1%25lo]", "[fe80::1%25lo]", "localhost", "LOCALHOST", "localhost.", "ip6-localhost", "①②⑦.⓪.⓪.①",
		"127。0。0。1", "%31%32%37.0.0.1", "a.inside.test", "a.inside.test.", "a.INSIDE.test", "169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "192.168.1.1",
		"100.64.0.1", "224.0.0.1", "255.255.255.255",
		// Whole numbers, octal and hexadecimal in every mixture, padded, overflowing.
		"0x7F.0x0.0x0.0x1", "00000177.0.0.01", "0x00000000007f000001", "127.0x1", "127.0.0x0.1", "4294967297", "127.0.0.257", "0177.0.0.0x1", "0x7f000001.",
		"127.0.0.1..", "127..0.0.1", ".127.0.0.1", "127.0.0.1.inside.test",
		// Digits and dots of other scripts.
		"１２７.０.０.１", "127．0．0．1", "127｡0｡0｡1", "۱۲۷.۰.۰.۱", "𝟙𝟚𝟟.𝟘.𝟘.𝟙", "¹²⁷.⁰.⁰.¹", "ⓛocalhost", "ｌｏｃａｌｈｏｓｔ", "a。inside。test",
		// Userinfo, and what different parsers cut a host at.
		"example.com@127.0.0.1", "8.8.8.8:443@127.0.0.1", "127.0.0.1@8.8.8.8@127.0.0.1", "8.8.8.8%40127.0.0.1", "8.8.8.8\\@127.0.0.1", "8.8.8.8%00.inside.test",
		"8.8.8.8%0d%0a.inside.test", "127.0.0.1%2f.inside.test", "127.0.0.1%23.inside.test", "[127.0.0.1]", "[::1].inside.test", "[::ffff:0x7f.1]",
		// Zones, and IPv6 forms that hold an IPv4 address.
		"[::1%251]", "[::ffff:127.0.0.1%25lo]", "[fe80::7f00:1%25eth0]", "[0000::0001]", "[::ffff:0:127.0.0.1]", "[::ffff:0:0:7f00:1]", "[64:ff9b:1::7f00:1]",
		"[2001:0:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "[2002:0a00:1::1]", "[fec0::1]", "[fc00::1]", "[ff02::1]", "[2001:db8::1]", "[3fff::1]",
	} {
		req := request(t, "http://"+host+port+"/")
		req.Timeout = 5 * time.Second
		a := send(t, s, req)
		switch a.ErrorClass {
		case webhook.ClassBlocked, webhook.ClassDNS:
		case webhook.ClassConnect:
			if !strings.Contains(a.Error, "the webhook's URL") {
				t.Errorf("%s: class %q: %s", host, a.ErrorClass, a.Error)
			}
		default:
			t.Errorf("%s: class %q: %s", host, a.ErrorClass, a.Error)
		}
	}
	if n := r.Connections(); n != 0 {
		t.Errorf("%d connections were made, want none", n)
	}
}

func TestI6_nameWithPublicAndPrivateAddress(t *testing.T) {
	t.Parallel()
	for name, addrs := range map[string][]string{
		"private first": {"127.0.0.2", "10.0.0.1", "::1", "127.0.0.1"},
		"private last":  {"127.0.0.1", "127.0.0.2", "fd00::1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := sendertest.New(t, sendertest.Behaviour{})
			private := inside(t, r)
			s := newSender(t, sender.Config{
				AllowedNetworks: only1(),
				Resolver:        resolver(t, func(string) ([]string, byte) { return addrs, noError }),
			})
			req := request(t, "http://receiver.test:"+strconv.Itoa(r.Port())+"/")
			if a := send(t, s, req); !a.OK() {
				t.Errorf("class %q: %s", a.ErrorClass, a.Error)
			}
			r.Close()
			if a := send(t, s, req); a.OK() {
				t.Error("the attempt succeeded without its receiver")
			}
			if n := private.Connections(); n != 0 {
				t.Errorf("%d connections to the private address, want none", n)
			}
		})
	}
}

func TestI6_rebinding(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{})
	private := inside(t, r)
	var rebound atomic.Bool
	s := newSender(t, sender.Config{
		AllowedNetworks: only1(),
		Resolver: resolver(t, func(string) ([]string, byte) {
			if rebound.Load() {
				return []string{"127.0.0.2"}, noError
			}
			return []string{"127.0.0.1"}, noError
		}),
	})
	req := request(t, "http://rebind.test:"+strconv.Itoa(r.Port())+"/")
	if a := send(t, s, req); !a.OK() {
		t.Fatalf("class %q: %s", a.ErrorClass, a.Error)
	}
	rebound.Store(true)
	s.Close() // the kept connection still leads to the first address
	checkAttempt(t, sendertest.Want{Class: webhook.ClassBlocked, Text: "is not public"}, send(t, s, req))
	if n := private.Connections(); n != 0 {
		t.Errorf("%d connections to the private address, want none", n)
	}
}

// A name of our inside networks, as a tenant may guess it, says nothing about
// them but that it is there.
func TestI6_onlyOperatorsLearnTheAddressThatWasRefused(t *testing.T) {
	t.Parallel()
	s := newSender(t, sender.Config{Resolver: resolver(t, func(string) ([]string, byte) { return []string{"10.96.0.12"}, noError })})
	a := send(t, s, request(t, "https://redis.default.svc.cluster.local/"))
	checkAttempt(t, sendertest.Want{Class: webhook.ClassBlocked, Text: "the host name leads to an address that is not public"}, a)
	if strings.ContainsAny(a.Error, "0123456789") {
		t.Errorf("the error %q shows the address", a.Error)
	}
	if a.BlockedAddress != "10.96.0.12" {
		t.Errorf("for the log: %q", a.BlockedAddress)
	}
}

func TestSend_nameThatDoesNotResolve(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		code byte
		want sendertest.Want
	}{
		"unknown":        {noSuchName, sendertest.Want{Class: webhook.ClassDNS, Text: "the host name does not exist"}},
		"server failure": {serverFail, sendertest.Want{Class: webhook.ClassDNS, Text: "the host name"}},
		"silence":        {noError, sendertest.Want{Class: webhook.ClassTimeout, Text: "no connection within 500ms"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSender(t, sender.Config{Resolver: resolver(t, func(string) ([]string, byte) { return nil, tc.code })})
			req := request(t, "https://in-the-url.test/")
			req.Timeout = 500 * time.Millisecond
			checkAttempt(t, tc.want, send(t, s, req))
		})
	}
}

// Certificates are checked against the name in the URL.
func TestSend_certificateOfAName(t *testing.T) {
	t.Parallel()
	r := sendertest.New(t, sendertest.Behaviour{TLS: sendertest.Valid})
	s := newSender(t, sender.Config{Resolver: resolver(t, func(string) ([]string, byte) { return []string{"127.0.0.1"}, noError })})
	port := strconv.Itoa(r.Port())
	if a := send(t, s, request(t, "https://receiver.test:"+port+"/")); !a.OK() {
		t.Errorf("class %q: %s", a.ErrorClass, a.Error)
	}
	a := send(t, s, request(t, "https://other.test:"+port+"/"))
	checkAttempt(t, sendertest.Want{Class: webhook.ClassTLS, Text: "not valid for the host name"}, a)
}
