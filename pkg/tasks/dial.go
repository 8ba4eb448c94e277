package tasks

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// maxSilence is how long a connection may hear nothing where the client library sets
// no bound: where it listens to a subscription. It asks for a sign of life every 3 s,
// but looks only whether it can be sent, which takes a network that swallows
// everything minutes to deny; and asynq, as it starts, waits for its subscription to
// be confirmed, and cannot be stopped while it does.
const maxSilence = 3*time.Second + ioTimeout

// dialer makes connections that do not listen for longer than maxSilence.
func dialer(config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := net.Dialer{Timeout: dialTimeout, KeepAlive: idleTimeout}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if config != nil {
			c, err := (&tls.Dialer{NetDialer: &plain, Config: config}).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return attentive{c}, nil
		}
		c, err := plain.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return attentive{c}, nil
		}
		return attentiveTCP{tcp}, nil
	}
}

// attentive is a connection whose reads all end.
type attentive struct{ net.Conn }

// SetReadDeadline sets one in any case.
func (c attentive) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(orSilence(t)) }

// attentiveTCP is attentive, and lets the library see whether its peer has closed it.
type attentiveTCP struct{ *net.TCPConn }

// SetReadDeadline sets one in any case.
func (c attentiveTCP) SetReadDeadline(t time.Time) error {
	return c.TCPConn.SetReadDeadline(orSilence(t))
}

func orSilence(t time.Time) time.Time {
	if t.IsZero() {
		return time.Now().Add(maxSilence)
	}
	return t
}
