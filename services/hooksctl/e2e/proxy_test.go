package e2e_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
)

// proxy stands before a server that is to go away. While it is closed its port
// refuses connections, and those that were open are cut.
type proxy struct {
	t        *testing.T
	addr     string
	target   string
	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	running  sync.WaitGroup
}

// newProxy returns a closed proxy before the server of a URL, and the URL that
// leads through it.
func newProxy(t *testing.T, server string) (p *proxy, through string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("the server's URL is none")
	}
	p = &proxy{t: t, target: u.Host, addr: freeAddr(t), conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		p.close()
		p.running.Wait()
	})
	u.Host = p.addr
	return p, u.String()
}

// freeAddr finds a port below the range that systems take for outgoing
// connections, so that nobody takes it while the proxy is closed.
func freeAddr(t *testing.T) string {
	t.Helper()
	const lowest, highest = 15000, 32000
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(highest-lowest)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

func (p *proxy) open() {
	p.t.Helper()
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	p.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			p.running.Go(func() { p.join(conn) })
		}
	})
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
	}
	p.listener = nil
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// join copies both ways until one side ends.
func (p *proxy) join(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	if !p.keep(client, server) {
		return
	}
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{client: server, server: client} {
		both.Go(func() {
			_, _ = io.Copy(to, from) // its end is the connection's
			_ = client.Close()
			_ = server.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// keep remembers connections for close; a proxy that is closed cuts them.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		if p.listener == nil {
			_ = conn.Close()
		} else {
			p.conns[conn] = true
		}
	}
	return p.listener != nil
}
