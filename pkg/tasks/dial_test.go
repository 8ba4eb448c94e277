package tasks

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestDialer_listensForABoundedTime(t *testing.T) {
	t.Parallel()
	secure, plain := httptest.NewTLSServer(http.NotFoundHandler()), httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	t.Cleanup(plain.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	for name, test := range map[string]struct {
		addr   net.Addr
		config *tls.Config
	}{
		"TCP": {plain.Listener.Addr(), nil},
		"TLS": {secure.Listener.Addr(), &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := dialer(test.config)(t.Context(), "tcp", test.addr.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// The library sees that a connection was closed through its descriptor.
			if _, ok := c.(syscall.Conn); ok != (test.config == nil) {
				t.Errorf("%T has a descriptor: %t", c, ok)
			}
			if err := c.SetReadDeadline(time.Time{}); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) > 2*maxSilence {
				t.Errorf("hears nothing: %v after %s, want an end after %s", err, time.Since(began), maxSilence)
			}
		})
	}
	c, err := dialer(&tls.Config{MinVersion: tls.VersionTLS12})(t.Context(), "tcp", secure.Listener.Addr().String())
	if err == nil {
		_ = c.Close()
		t.Error("a certificate that nobody vouches for is accepted")
	}
}
