package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

// bounds are how long the network may keep us waiting beyond what the server is
// allowed to take.
type bounds struct {
	// margin is what a statement's answer may take on top of its timeout.
	margin time.Duration
	// longest is the longest timeout that a statement may be given beside the
	// connection's own.
	longest time.Duration
	// connect bounds connecting, and asking the server to cancel a statement,
	// where the URL does not.
	connect time.Duration
}

// maxSilence is how long what was sent may stay unacknowledged. A server that
// only takes its time acknowledges at once.
const maxSilence = 6 * time.Second

func defaultBounds() bounds { return bounds{margin: 5 * time.Second, connect: 5 * time.Second} }

// newConnector makes connections that notice a server which vanished without a
// word: a host that lost its power, a network that drops packets. The driver
// never looks at a context while it reads, it only asks the server to cancel; so
// each read ends by itself when even a statement that timed out would have been
// answered. Idle connections are not read from. Where the system offers it, a
// peer that acknowledges nothing for maxSilence ends a connection before that,
// and the idle ones of the pool with it.
//
// Without a statement_timeout, as in migrations, an answer may take for ever,
// and only TCP's keepalive tells that nobody is there.
func newConnector(dsn string, b bounds) (*pq.Connector, error) {
	config, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, errors.New("reading DATABASE_URL: not a valid PostgreSQL URL") // err may quote the password
	}
	timeout, err := parseTimeout(config.Runtime["statement_timeout"])
	if err != nil {
		return nil, fmt.Errorf("reading DATABASE_URL: statement_timeout %w", err)
	}
	if config.ConnectTimeout <= 0 {
		config.ConnectTimeout = b.connect
	}
	d := dialer{write: defaultStatementTimeout + b.margin}
	if timeout > 0 {
		d.read = max(timeout, b.longest) + b.margin
		d.write = d.read
	}
	d.net.KeepAliveConfig = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 2 * time.Second, Count: 3}
	d.net.Control = boundSilence
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, errors.New("reading DATABASE_URL: not a valid PostgreSQL URL")
	}
	connector.Dialer(d)
	return connector, nil
}

// parseTimeout reads a duration as PostgreSQL does: in milliseconds, unless it
// has a unit. 0 or nothing means no timeout.
func parseTimeout(value string) (time.Duration, error) {
	value = strings.TrimSpace(value)
	if value == "" {
		return 0, nil
	}
	unit := strings.TrimLeft(value, "0123456789.")
	number, err := strconv.ParseFloat(strings.TrimSuffix(value, unit), 64)
	units := map[string]time.Duration{
		"": time.Millisecond, "us": time.Microsecond, "ms": time.Millisecond,
		"s": time.Second, "min": time.Minute, "h": time.Hour, "d": 24 * time.Hour,
	}
	of, known := units[strings.TrimSpace(unit)]
	if err != nil || !known {
		return 0, errors.New("must be a number of milliseconds, or one with a unit (ms, s, min, h)")
	}
	return time.Duration(number * float64(of)), nil
}

// dialer opens bounded connections. The driver also dials it for a request to
// cancel, which then is bounded by the connect timeout: that is the deadline it
// sets before anything is read.
type dialer struct {
	net         net.Dialer
	read, write time.Duration // 0 is no bound
}

// DialContext is what the driver calls.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.net.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &boundedConn{Conn: conn, read: d.read, write: d.write}, nil
}

// Dial is there because the driver's interface has it.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialTimeout is there because the driver's interface has it.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// boundedConn ends each read and write in time, or by the deadline that its
// user sets, whichever is sooner. One that came too late closes the connection:
// nobody knows where in a message it would go on.
type boundedConn struct {
	net.Conn
	read, write time.Duration

	mu              sync.Mutex
	readBy, writeBy time.Time // the user's deadlines; zero is none
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.read > 0 {
		if err := c.arm(c.Conn.SetReadDeadline, c.read, &c.readBy); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Read(p)
	return n, c.seen(err)
}

func (c *boundedConn) Write(p []byte) (int, error) {
	if c.write > 0 {
		if err := c.arm(c.Conn.SetWriteDeadline, c.write, &c.writeBy); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	return n, c.seen(err)
}

// arm sets the deadline of what follows.
func (c *boundedConn) arm(set func(time.Time) error, limit time.Duration, users *time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := time.Now().Add(limit)
	if !users.IsZero() && users.Before(deadline) {
		deadline = *users
	}
	return set(deadline)
}

func (c *boundedConn) seen(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		_ = c.Close()
	}
	return err
}

// SetDeadline is the user's word on reads and writes; zero takes it back.
func (c *boundedConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy, c.writeBy = t, t
	return c.Conn.SetDeadline(t)
}

// SetReadDeadline is the user's word on reads.
func (c *boundedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	return c.Conn.SetReadDeadline(t)
}

// SetWriteDeadline is the user's word on writes.
func (c *boundedConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	return c.Conn.SetWriteDeadline(t)
}
