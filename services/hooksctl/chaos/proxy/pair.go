package proxy

import (
	"net"
	"sync"
	"time"
)

// pair is a connection of a client and the one to the server that answers it.
type pair struct {
	client, server net.Conn
	gone           chan struct{} // closed by reset
	lost           chan struct{} // closed by swallow
	goOnce         sync.Once
	loseOnce       sync.Once
}

func newPair(client, server net.Conn) *pair {
	return &pair{client: client, server: server, gone: make(chan struct{}), lost: make(chan struct{})}
}

// reset ends both connections by RST.
func (p *pair) reset() {
	p.goOnce.Do(func() {
		close(p.gone)
		abort(p.client)
		abort(p.server)
	})
}

// swallow makes the client's packets vanish; nothing is written to it any more,
// and nothing to the server.
func (p *pair) swallow() error {
	p.loseOnce.Do(func() { close(p.lost) })
	conn, ok := p.client.(*net.TCPConn)
	if !ok {
		return nil
	}
	return drop(conn)
}

// run copies both ways until one side ends; a swallowed pair lasts until reset.
func (p *pair) run(proxy *Proxy) {
	var both sync.WaitGroup
	both.Go(func() { p.pump(p.client, p.server, nil) })
	both.Go(func() { p.pump(p.server, p.client, proxy.conditions) })
	both.Wait()
	select {
	case <-p.lost:
		<-p.gone
	default:
		p.reset()
	}
}

// chunk is what one read brought, and when it may be passed on.
type chunk struct {
	bytes []byte
	due   time.Time
	held  <-chan struct{}
}

// chunks in flight in one direction; beyond it the sender is slowed down.
const maxChunks = 1024

// pump copies one way: reading goes on while what was read is held back.
func (p *pair) pump(from, to net.Conn, conditions func() (time.Duration, <-chan struct{})) {
	chunks := make(chan chunk, maxChunks)
	var writing sync.WaitGroup
	writing.Go(func() {
		for c := range chunks {
			if !p.await(c) {
				return
			}
			if _, err := to.Write(c.bytes); err != nil {
				return
			}
		}
		p.hangUp(to)
	})
	defer writing.Wait()
	defer close(chunks)
	for {
		buffer := make([]byte, 16<<10)
		n, err := from.Read(buffer)
		c := chunk{bytes: buffer[:n]}
		if conditions != nil {
			delay, held := conditions()
			c.held, c.due = held, time.Now().Add(delay)
		}
		select {
		case chunks <- c:
		case <-p.gone:
			return
		}
		if err != nil {
			return
		}
	}
}

// await returns when a chunk may be passed on, or false when it never may.
func (p *pair) await(c chunk) bool {
	timer := time.NewTimer(time.Until(c.due))
	defer timer.Stop()
	if c.held != nil {
		select {
		case <-c.held:
		case <-p.gone:
			return false
		}
	}
	select {
	case <-timer.C:
	case <-p.gone:
		return false
	}
	select {
	case <-p.lost:
		return false
	default:
		return true
	}
}

// hangUp passes an end on, in its turn behind what was written before.
func (p *pair) hangUp(to net.Conn) {
	select {
	case <-p.lost: // an end is a packet too
	default:
		_ = to.Close()
	}
}

// abort closes by RST.
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
