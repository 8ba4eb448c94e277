package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/lib/pq"
	"github.com/redis/go-redis/v9"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// examination is one server's: every check has the same time, and one that
// fails keeps none of the others from telling what it found.
type examination struct {
	// variable is what the server's address is configured by.
	variable string
	// limit is how long a check may take.
	limit time.Duration
}

// try runs a check. What it found is reported beside what kept it from finding
// more.
func (x examination) try(ctx context.Context, doing string, check func(context.Context) ([]finding, error)) []finding {
	limited, cancel := context.WithTimeout(ctx, x.limit)
	defer cancel()
	findings, err := check(limited)
	if err == nil {
		return findings
	}
	if limited.Err() != nil && ctx.Err() == nil {
		err = slowError{x.limit}
	}
	return append(findings, finding{fail, doing + ": " + message(err), adviceOn(err, x.variable)})
}

// slowError is what came of a check that had no answer in its time. How drivers
// put that differs.
type slowError struct{ limit time.Duration }

func (e slowError) Error() string { return fmt.Sprintf("no answer within %s", e.limit) }

// Timeout makes it a timeout as net's are.
func (slowError) Timeout() bool { return true }

// message is what the server said. An unavailable one is not explained to
// clients, but here.
func message(err error) string {
	if fault := (*webhook.Error)(nil); errors.As(err, &fault) && fault.Cause != nil {
		return fault.Cause.Error()
	}
	return err.Error()
}

// cause is a reason why a server does not do what it was asked, and what helps.
type cause struct {
	is func(error) bool
	// advice names the variable with the server's URL as {url}.
	advice string
}

// adviceOn says what to do about an error of the server that the variable names.
func adviceOn(err error, variable string) string {
	for _, c := range append(causes(variable), networkCauses()...) {
		if c.is(err) {
			return strings.ReplaceAll(c.advice, "{url}", variable)
		}
	}
	return "see the message, and the server's log"
}

func causes(variable string) []cause {
	if variable == "REDIS_URL" {
		return redisCauses()
	}
	return postgresCauses()
}

const (
	adviceOnConnections = "raise max_connections, lower HOOKS_DATABASE_CONNECTIONS, or run fewer processes"
	adviceOnWaiting     = "see what it waits for: locks (pg_stat_activity, pg_blocking_pids()), its disk, the network between; --timeout gives it longer"
)

func postgresCauses() []cause {
	return []cause{
		{sqlState("53300"), adviceOnConnections},
		{sqlState("42501"), "grant what the message names to the user of {url}: the services need it as well"},
		{sqlState("28"), "correct user and password in {url}, or let them in (pg_hba.conf)"},
		{sqlState("3D000"), "correct the database's name in {url}, or create it"},
		{sqlState("57P03"), "wait: it is starting, stopping or recovering; its log says which"},
		{func(err error) bool { return errors.Is(err, pq.ErrSSLNotSupported) }, "set up TLS in the server, or correct sslmode in {url}"},
		{sqlState("55P03", "57014"), adviceOnWaiting},
		{isTimeout, adviceOnWaiting},
	}
}

func redisCauses() []cause {
	return []cause{
		{redis.IsMaxClientsError, "raise maxclients, or run fewer processes"},
		{redis.IsPermissionError, "let the user of {url} do what the message names (ACL SETUSER)"},
		{redis.IsAuthError, "correct user and password in {url}"},
		{redis.IsLoadingError, "wait: it is loading its data"},
		{redis.IsMasterDownError, adviceOnReplica},
		{isTimeout, "see what it waits for: a slow command (SLOWLOG GET), its disk (LATENCY DOCTOR), the network between; --timeout gives it longer"},
	}
}

func networkCauses() []cause {
	return []cause{
		{isUnknownHost, "correct the host in {url}: no such name is known here"},
		{func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }, "start it, or correct host and port in {url}"},
		{isTLS, "correct {url} or the certificates: the message says what does not fit"},
	}
}

// sqlState recognises PostgreSQL's errors by their codes, or the beginnings of
// their codes.
func sqlState(codes ...string) func(error) bool {
	return func(err error) bool {
		var said *pq.Error
		if !errors.As(err, &said) {
			return false
		}
		for _, code := range codes {
			if strings.HasPrefix(string(said.Code), code) {
				return true
			}
		}
		return false
	}
}

func isTimeout(err error) bool {
	var slow interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &slow) && slow.Timeout()
}

func isUnknownHost(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound
}

func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	return errors.As(err, &certificate) || errors.As(err, &record) || errors.As(err, &authority) || errors.As(err, &host)
}
