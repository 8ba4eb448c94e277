package sendertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// Variant is how a receiver speaks TLS.
type Variant int

// The variants. All but Plain have an https URL.
const (
	Plain Variant = iota
	Valid
	SelfSigned
	Expired
	NotYetValid
	WrongHost
	CommonNameOnly // no subject alternative name
	UnknownRoot
	TLS10
	TLS11
	ClientCertificate // wants one
	OtherProtocol     // speaks no HTTP
	HTTP2Preferred    // speaks HTTP/1.1, too
	LongChain         // 250 KB of certificates that nobody needs
	NoTLS             // https URL, but the receiver does not speak TLS
)

func (v Variant) scheme() string {
	if v == Plain {
		return "http"
	}
	return "https"
}

// authority is a certificate authority of this process.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var (
	trusted  = sync.OnceValues(func() (*authority, error) { return newAuthority("Trusted test authority") }) //nolint:gochecknoglobals // made once, never assigned
	stranger = sync.OnceValues(func() (*authority, error) { return newAuthority("Unknown test authority") }) //nolint:gochecknoglobals // made once, never assigned
)

// RootCAs returns what a sender must trust for Valid to be valid.
func RootCAs() (*x509.CertPool, error) {
	ca, err := trusted()
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool, nil
}

// config returns nil where the receiver itself speaks no TLS.
func (v Variant) config() (*tls.Config, error) {
	if v == Plain || v == NoTLS {
		return nil, nil //nolint:nilnil // no TLS is an answer
	}
	cert, err := v.certificate()
	if err != nil {
		return nil, fmt.Errorf("making a test certificate: %w", err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	switch v {
	case TLS10:
		config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS10
	case TLS11:
		config.MinVersion, config.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	case OtherProtocol:
		config.NextProtos = []string{"imap"}
	case HTTP2Preferred:
		config.NextProtos = []string{"h2", "http/1.1"}
	case ClientCertificate:
		config.ClientAuth = tls.RequireAnyClientCert
	}
	return config, nil
}

func (v Variant) certificate() (tls.Certificate, error) {
	template := leaf()
	issuer, err := trusted()
	if err != nil {
		return tls.Certificate{}, err
	}
	switch v {
	case SelfSigned:
		issuer = nil
	case UnknownRoot:
		if issuer, err = stranger(); err != nil {
			return tls.Certificate{}, err
		}
	case Expired:
		template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	case NotYetValid:
		template.NotBefore, template.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	case WrongHost:
		template.IPAddresses, template.DNSNames = nil, []string{"elsewhere.example"}
	case CommonNameOnly:
		template.IPAddresses, template.DNSNames = nil, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if issuer == nil {
		issuer = &authority{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, &key.PublicKey, issuer.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	chain := [][]byte{der}
	if v == LongChain {
		fillers, err := fillers(issuer)
		if err != nil {
			return tls.Certificate{}, err
		}
		chain = append(chain, fillers...)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key}, nil
}

// fillers returns certificates, all different, that fill the largest message that
// crypto/tls takes.
func fillers(issuer *authority) ([][]byte, error) {
	const most = 250_000
	var all [][]byte
	for size := 0; size < most; {
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(1000 + len(all)))}
		der, err := x509.CreateCertificate(rand.Reader, template, issuer.cert, &issuer.key.PublicKey, issuer.key)
		if err != nil {
			return nil, err
		}
		all = append(all, der)
		size += len(der) + 10 // what frames it
	}
	return all[:len(all)-1], nil
}

func leaf() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "127.0.0.1"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"receiver.test"},
	}
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{cert: cert, key: key}, nil
}
