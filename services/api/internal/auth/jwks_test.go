package auth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	body    atomic.Pointer[string] // answered instead of the set
	held    atomic.Pointer[chan struct{}]
	waiting chan struct{} // gets one when a fetch is held
}

// hold keeps fetches waiting until the returned function is called.
func (s *keyServer) hold() (release func()) {
	gate := make(chan struct{})
	s.held.Store(&gate)
	return func() { close(gate) }
}

func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	s := &keyServer{set: jwkset.NewMemoryStorage(), waiting: make(chan struct{}, 100)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fetches.Add(1)
		if gate := s.held.Load(); gate != nil {
			s.waiting <- struct{}{}
			<-*gate
		}
		body, err := s.set.JSONWithOptions(r.Context(), jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		if err != nil || s.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if other := s.body.Load(); other != nil {
			body = []byte(*other)
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
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

func (s *keyServer) verifier(t *testing.T, changes ...func(*auth.Config)) *auth.Verifier {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	config := auth.Config{JWKSURL: s.URL, Log: slog.New(slog.DiscardHandler)}
	for _, change := range changes {
		change(&config)
	}
	v, err := auth.New(ctx, config)
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

// Many tokens signed by a key that has just come arrive together: one fetch
// serves them all, and none is refused.
func TestJWKS_oneFetchForAllWhoWait(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	server := newKeyServer(t)
	server.add(t, "old", k.rsa.Public())
	v := server.verifier(t, func(c *auth.Config) { *c = c.WithRefetch(time.Nanosecond) })
	server.add(t, "new", k.ed.Public())
	compact := sign(t, jwt.SigningMethodEdDSA, k.ed, "new", claims(nil))
	release := server.hold()
	errs := make(chan error)
	for range 50 {
		go func() { // received from below
			_, err := v.Verify(t.Context(), compact)
			errs <- err
		}()
	}
	<-server.waiting // the first of them is fetching
	release()
	for range 50 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := server.fetches.Load(); n != 2 {
		t.Errorf("%d fetches, want one at start and one more", n)
	}
}

// Invented key ids cost the provider one fetch in a while, and the next rotation
// is seen all the same.
func TestJWKS_unknownKeysAreRateLimited(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	server := newKeyServer(t)
	server.add(t, "old", k.rsa.Public())
	const every = 100 * time.Millisecond
	v := server.verifier(t, func(c *auth.Config) { *c = c.WithRefetch(every) })
	started := time.Now()
	for i := range 200 {
		if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, fmt.Sprint("invented", i), claims(nil))); err == nil {
			t.Fatal("an invented key id was accepted")
		}
	}
	if n, most := server.fetches.Load(), 2+int64(time.Since(started)/every); n > most {
		t.Errorf("%d fetches, want %d at most", n, most)
	}
	server.add(t, "new", k.ed.Public())
	compact := sign(t, jwt.SigningMethodEdDSA, k.ed, "new", claims(nil))
	for {
		_, err := v.Verify(t.Context(), compact)
		if err == nil {
			return
		}
		if time.Since(started) > 30*time.Second {
			t.Fatalf("the new key is not known yet: %v", err)
		}
	}
}

// What is known goes on working while the provider is down or talks nonsense.
func TestJWKS_knownKeysOutliveTheProvider(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	for name, body := range map[string]string{"down": "", "empty": `{"keys":[]}`, "nonsense": `<html>`, "cut": `{"keys":[{"kty":"OKP"`, "secrets only": `{"keys":[{"kty":"oct","kid":"ed","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newKeyServer(t)
			server.add(t, "ed", k.ed.Public())
			v := server.verifier(t, func(c *auth.Config) { *c = c.WithRefetch(time.Nanosecond) })
			if body == "" {
				server.down.Store(true)
			} else {
				server.body.Store(&body)
			}
			if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodRS256, k.rsa, "unknown", claims(nil))); err == nil {
				t.Error("an unknown key was accepted")
			}
			if n := server.fetches.Load(); n < 2 {
				t.Fatal("nobody asked the provider")
			}
			for _, kid := range []string{"ed", ""} {
				if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, kid, claims(nil))); err != nil {
					t.Errorf("known key, id %q: %v", kid, err)
				}
			}
		})
	}
}

// A key that the provider has withdrawn is gone with the next fetch, and keys
// that nobody understands are no reason to do without the others.
func TestJWKS_withdrawnAndUnreadableKeys(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	server := newKeyServer(t)
	server.add(t, "old", k.rsa.Public())
	v := server.verifier(t)
	x, _, _ := strings.Cut(sign(t, jwt.SigningMethodEdDSA, k.ed, "", claims(nil)), ".")
	body := fmt.Sprintf(`{"keys":[{"kty":"PQC","kid":"a"},{"kty":"RSA","kid":"b","n":%q},{"kty":"OKP","crv":"Ed25519","use":"enc","kid":"encrypts","x":%q},{"kty":"OKP","crv":"Ed25519","kid":"new","x":%q}]}`,
		x, base64.RawURLEncoding.EncodeToString(k.ed[32:]), base64.RawURLEncoding.EncodeToString(k.ed[32:]))
	server.body.Store(&body)
	for kid, ok := range map[string]bool{"new": true, "encrypts": false} {
		if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, kid, claims(nil))); (err == nil) != ok {
			t.Errorf("%s: %v", kid, err)
		}
	}
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodRS256, k.rsa, "old", claims(nil))); err == nil {
		t.Error("a withdrawn key still counts")
	}
}

// The URL is trusted, whoever it points to is not: a redirect could lead to http.
func TestJWKS_redirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	server := newKeyServer(t)
	server.add(t, "ed", k.ed.Public())
	for _, code := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		redirecting := httptest.NewServer(http.RedirectHandler(server.URL, code))
		t.Cleanup(redirecting.Close)
		v := server.verifier(t, func(c *auth.Config) { c.JWKSURL = redirecting.URL })
		if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, "ed", claims(nil))); err == nil {
			t.Errorf("a key that a redirect (%d) led to was accepted", code)
		}
	}
	if n := server.fetches.Load(); n > 0 {
		t.Errorf("redirects were followed %d times", n)
	}
}

// TestMain names a proxy that never answers. None is used for loopback addresses
// and for the name localhost, but in capitals it is another one to whoever decides.
func TestJWKS_noProxyFromTheEnvironment(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	server := newKeyServer(t)
	server.add(t, "ed", k.ed.Public())
	v := server.verifier(t, func(c *auth.Config) {
		c.JWKSURL = strings.Replace(server.URL, "127.0.0.1", "LOCALHOST", 1)
	})
	if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, "ed", claims(nil))); err != nil {
		t.Error(err)
	}
}

func TestJWKS_answersAreBounded(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	for name, more := range map[string]http.HandlerFunc{
		"body":   func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat(" ", 2<<20)) },
		"header": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Much", strings.Repeat("x", 128<<10)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newKeyServer(t)
			server.add(t, "ed", k.ed.Public())
			big := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				more(w, r)
				server.Config.Handler.ServeHTTP(w, r)
			}))
			t.Cleanup(big.Close)
			v := server.verifier(t, func(c *auth.Config) { c.JWKSURL = big.URL })
			if _, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodEdDSA, k.ed, "ed", claims(nil))); err == nil {
				t.Error("an answer without bounds was read to its end")
			}
		})
	}
}
