package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
)

// keyServer is an identity provider: it counts fetches and can be down.
type keyServer struct {
	*httptest.Server
	set     *jwkset.MemoryJWKSet
	down    atomic.Bool
	fetches atomic.Int64
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{set: jwkset.NewMemoryStorage()}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		body, err := s.set.JSONWithOptions(r.Context(), jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		if err != nil || s.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(func() {
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

func (s *keyServer) add(t *testing.T, kid string, key any) {
	t.Helper()
	jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
		Marshal:  jwkset.JWKMarshalOptions{Private: true},
		Metadata: jwkset.JWKMetadataOptions{KID: kid},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.set.KeyWrite(t.Context(), jwk); err != nil {
		t.Fatal(err)
	}
}

func (s *keyServer) verifier(t *testing.T) *auth.Verifier {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	v, err := auth.New(ctx, auth.Config{JWKSURL: s.URL, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

type keys struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
}

func newKeys(t *testing.T) keys {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keys{rsaKey, ecKey, edKey}
}

func TestJWKS_algorithms(t *testing.T) {
	t.Parallel()
	k, other := newKeys(t), newKeys(t)
	server := newKeyServer(t)
	server.add(t, "rsa", k.rsa.Public())
	server.add(t, "ec", k.ec.Public())
	server.add(t, "ed", k.ed.Public())
	server.add(t, "shared", []byte("an oct key that should not be in a public set"))
	v := server.verifier(t)
	publicDER, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER})

	for name, tc := range map[string]struct {
		compact string
		ok      bool
	}{
		"RS256":                   {sign(t, jwt.SigningMethodRS256, k.rsa, "rsa", claims(nil)), true},
		"ES256":                   {sign(t, jwt.SigningMethodES256, k.ec, "ec", claims(nil)), true},
		"EdDSA":                   {sign(t, jwt.SigningMethodEdDSA, k.ed, "ed", claims(nil)), true},
		"no key id":               {sign(t, jwt.SigningMethodEdDSA, k.ed, "", claims(nil)), true},
		"another key, same id":    {sign(t, jwt.SigningMethodRS256, other.rsa, "rsa", claims(nil)), false},
		"another key, no id":      {sign(t, jwt.SigningMethodES256, other.ec, "", claims(nil)), false},
		"key of another kind":     {sign(t, jwt.SigningMethodES256, k.ec, "rsa", claims(nil)), false},
		"public key as secret":    {sign(t, jwt.SigningMethodHS256, publicPEM, "rsa", claims(nil)), false},
		"published secret":        {sign(t, jwt.SigningMethodHS256, []byte("an oct key that should not be in a public set"), "shared", claims(nil)), false},
		"unsigned":                {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "rsa", claims(nil)), false},
		"algorithm not on list":   {sign(t, jwt.SigningMethodRS512, k.rsa, "rsa", claims(nil)), false},
		"key id with a path":      {sign(t, jwt.SigningMethodRS256, k.rsa, "../../dev/null", claims(nil)), false},
		"key id with a statement": {sign(t, jwt.SigningMethodRS256, k.rsa, "x' OR '1'='1", claims(nil)), false},
	} {
		_, err := v.Verify(t.Context(), tc.compact)
		if (err == nil) != tc.ok {
			t.Errorf("%s: error = %v, want ok = %v", name, err, tc.ok)
		}
		if err != nil && err.Error() != "token must be signed by a key that this service trusts" {
			t.Errorf("%s: error = %v", name, err)
		}
	}
	if got := server.fetches.Load(); got > 2 {
		t.Errorf("invented key ids caused %d fetches, want one at start and one more at most", got)
	}
}

func TestJWKS_rotationWithoutRestart(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	server := newKeyServer(t)
	server.add(t, "old", k.rsa.Public())
	v := server.verifier(t)
	server.add(t, "new", k.ed.Public())
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, "new", claims(nil))); err != nil {
		t.Errorf("token signed by a key that was added: %v", err)
	}
}

func TestJWKS_providerDownAtStart(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	server := newKeyServer(t)
	server.add(t, "ed", k.ed.Public())
	server.down.Store(true)
	v := server.verifier(t)
	server.down.Store(false)
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, "ed", claims(nil))); err != nil {
		t.Errorf("token after the provider came back: %v", err)
	}
}
