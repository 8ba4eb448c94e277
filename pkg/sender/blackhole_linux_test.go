package sender_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// A host that answers no SYN, as behind a firewall that drops: the attempt ends
// by its timeout, and says that it was connecting.
func TestSend_hostThatDropsConnections(t *testing.T) {
	t.Parallel()
	address := blackHole(t)
	for _, scheme := range []string{"http://", "https://"} {
		s := newSender(t, sender.Config{})
		req := request(t, scheme+address+"/")
		req.Timeout = 500 * time.Millisecond
		start := time.Now()
		a := send(t, s, req)
		checkAttempt(t, sendertest.Want{Class: webhook.ClassTimeout, Text: "no connection within 500ms"}, a)
		if took := time.Since(start); took < req.Timeout || took > req.Timeout+2*time.Second {
			t.Errorf("%s: took %s with a timeout of %s", scheme, took, req.Timeout)
		}
	}
}

// blackHole listens, and its queue of connections is full: the kernel drops every
// further SYN.
func blackHole(t *testing.T) (address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	inet, ok := bound.(*unix.SockaddrInet4)
	if !ok {
		t.Fatalf("bound to a %T", bound)
	}
	address = net.JoinHostPort("127.0.0.1", strconv.Itoa(inet.Port))
	const queue = 16 // far more than a backlog of 0 lets in
	for range queue {
		conn, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatalf("the queue took %d connections", queue)
	return ""
}
