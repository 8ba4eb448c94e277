package sender

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// outcome is the verdict on an exchange. Its text is for the webhook's owner: it
// says what to mend and repeats nothing of the URL, the secrets or either body.
type outcome struct {
	class webhook.ErrorClass
	text  string
	// undecided means that the receiver's own answer is not the cause, so that a
	// caller who gave up meanwhile may be.
	undecided bool
	// address is what was refused, for operators only.
	address string
}

func fault(class webhook.ErrorClass, text string) outcome {
	return outcome{class: class, text: text, undecided: true}
}

// classify names what went wrong before the answer's headers were there.
func (x *exchange) classify(err error) outcome {
	var blocked *blockedError
	var dns *net.DNSError
	var handshake *handshakeError
	switch {
	case errors.As(err, &blocked):
		refused := fault(webhook.ClassBlocked, blocked.text)
		refused.address = blocked.address
		return refused
	case x.expired():
		return fault(webhook.ClassTimeout, x.lateText())
	case errors.As(err, &dns):
		return fault(webhook.ClassDNS, dnsText(dns))
	case errors.As(err, &handshake):
		return fault(webhook.ClassTLS, tlsText(handshake.cause))
	case isAlert(err):
		// TLS 1.3 receivers refuse a client after the client's handshake is done.
		return fault(webhook.ClassTLS, tlsText(err))
	}
	if text := connectText(err); text != "" {
		return fault(webhook.ClassConnect, text)
	}
	return fault(webhook.ClassBody, malformedText(err))
}

// classifyBody names what went wrong while a 2xx's body was read.
func (x *exchange) classifyBody(err error) outcome {
	switch {
	case x.expired():
		return fault(webhook.ClassTimeout, "the answer was not complete within "+x.timeout.String())
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
		return fault(webhook.ClassBody, "the answer's body was cut short")
	default:
		return fault(webhook.ClassBody, "the answer's body is malformed")
	}
}

// expired compares clocks instead of asking for the context's error: the dialer's
// own timer for the same instant may be the first to fire.
func (x *exchange) expired() bool { return !time.Now().Before(x.deadline) }

func (x *exchange) lateText() string {
	switch x.phase.Load() {
	case phaseConnect:
		return "no connection within " + x.timeout.String()
	case phaseHandshake:
		return "no TLS handshake within " + x.timeout.String()
	default:
		return "no answer within " + x.timeout.String()
	}
}

func dnsText(err *net.DNSError) string {
	switch {
	case err.IsNotFound:
		return "the host name does not exist"
	case err.IsTimeout:
		return "the host name's DNS servers did not answer"
	default:
		return "the host name could not be resolved"
	}
}

// connectText returns "" for what is not a matter of the connection.
func connectText(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset by the receiver"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route to the receiver"
	case isClosedEarly(err):
		return "connection closed by the receiver before it answered"
	case errors.As(err, &op) && op.Timeout():
		return "connection timed out"
	case errors.As(err, &op):
		return "connection failed"
	case strings.HasPrefix(err.Error(), "net/http: invalid header"):
		return "a custom header of the webhook is not valid"
	case strings.HasPrefix(err.Error(), "http: "), strings.HasPrefix(err.Error(), "net/http: invalid "):
		return "the request could not be made"
	default:
		return ""
	}
}

// isClosedEarly tells a connection that was closed before the first byte of an
// answer from an answer cut short. net/http has no exported type for it.
func isClosedEarly(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		strings.Contains(err.Error(), "failed to read from server") ||
		strings.Contains(err.Error(), "server closed idle connection")
}

func malformedText(err error) string {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the answer was cut short"
	case strings.Contains(err.Error(), "headers exceeded"):
		return "the answer's headers exceed 32 KiB"
	default:
		return "the answer is not valid HTTP"
	}
}

// isAlert reports whether the other side ended the TLS session with an alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func tlsText(err error) string {
	var (
		invalid   x509.CertificateInvalidError
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		record    tls.RecordHeaderError
		op        *net.OpError
	)
	switch {
	case errors.Is(err, errLongHandshake):
		return errLongHandshake.Error()
	case errors.As(err, &invalid):
		return invalidText(invalid)
	case errors.As(err, &host):
		return "certificate is not valid for the host name"
	case errors.As(err, &authority) && selfSigned(authority.Cert):
		return "certificate is self-signed"
	case errors.As(err, &authority):
		return "certificate is signed by an unknown authority"
	case errors.As(err, &record):
		return "the receiver does not speak TLS on this port"
	case strings.Contains(err.Error(), "protocol version"):
		return "the receiver does not support TLS 1.2 or newer"
	case errors.As(err, &op) && op.Op == "remote error":
		// The alert's name comes from a fixed list.
		return "the receiver ended the TLS handshake: " + strings.TrimPrefix(op.Err.Error(), "tls: ")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "connection closed during the TLS handshake"
	default:
		return "TLS handshake failed"
	}
}

func invalidText(err x509.CertificateInvalidError) string {
	switch {
	case err.Reason != x509.Expired:
		return "certificate is not valid"
	case strings.Contains(err.Detail, "is before"):
		return "certificate is not valid yet"
	default:
		return "certificate is expired"
	}
}

func selfSigned(c *x509.Certificate) bool {
	return c != nil && string(c.RawIssuer) == string(c.RawSubject)
}
