package auth

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

const (
	// A fetch of keys that hangs holds up the start, and the requests that came
	// with an unknown key, for this long.
	jwksTimeout = 5 * time.Second
	// Keys are fetched again this often, and, at most this often, when a token
	// names a key that is not known.
	jwksRefresh = 5 * time.Minute
	jwksRefetch = 30 * time.Second
	// No provider publishes as much as that.
	maxKeySetBytes    = 1 << 20
	maxKeyHeaderBytes = 64 << 10
)

var (
	errUnknownKey = errors.New("the key is not among those that the JWKS URL gives")
	errKeyID      = errors.New("the key id is not a string")
	errKeyAlg     = errors.New("the key is for another algorithm")
	errKeysMoved  = errors.New("the JWKS URL redirects, which is not followed: set it to where the keys are")
)

// keySet is the public keys of the identity provider, by their ids. They stay
// when they cannot be fetched again.
//
// A token's kid is compared with theirs and goes nowhere else; jku, x5u, jwk and
// x5c are not read.
type keySet struct {
	url    string
	client *http.Client
	log    *slog.Logger
	// refetches bounds what invented key ids can cost the provider.
	refetches *rate.Limiter

	fetching sync.Mutex // held while keys are fetched: one at a time
	mu       sync.RWMutex
	keys     []publicKey
	fetches  int // ended, well or not
}

type publicKey struct {
	id  string // empty when the provider gives none
	key crypto.PublicKey
	alg string // empty when the provider does not say
}

func newKeySet(config Config) *keySet {
	every := config.refetchEvery
	if every == 0 {
		every = jwksRefetch
	}
	return &keySet{
		url: config.JWKSURL, client: newKeyClient(), log: config.Log,
		refetches: rate.NewLimiter(rate.Every(every), 1),
	}
}

// newKeyClient asks nobody but whom the operator named: whose answer counts may
// sign for every tenant. A redirect may lead to http, where anybody could answer,
// and a proxy in the environment is there for something else.
func newKeyClient() *http.Client {
	return &http.Client{
		Timeout: jwksTimeout,
		Transport: &http.Transport{
			ForceAttemptHTTP2: true, DisableKeepAlives: true, MaxResponseHeaderBytes: maxKeyHeaderBytes,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errKeysMoved },
	}
}

func (s *keySet) refresh(ctx context.Context) {
	ticker := time.NewTicker(jwksRefresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.fetching.Lock()
			s.fetch(ctx)
			s.fetching.Unlock()
		}
	}
}

// keyFor finds the key that a token says it was signed with, or all keys when it
// says nothing.
func (s *keySet) keyFor(ctx context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		id, given := t.Header["kid"]
		if !given {
			return s.all(ctx), nil
		}
		kid, ok := id.(string)
		if !ok {
			return nil, errKeyID
		}
		key, known, fetches := s.lookUp(kid)
		if !known {
			s.fetchAgain(ctx, fetches)
			key, known, _ = s.lookUp(kid)
		}
		switch {
		case !known:
			return nil, errUnknownKey
		case key.alg != "" && key.alg != t.Method.Alg():
			return nil, errKeyAlg
		}
		return key.key, nil
	}
}

func (s *keySet) lookUp(kid string) (key publicKey, known bool, fetches int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	i := slices.IndexFunc(s.keys, func(k publicKey) bool { return k.id == kid })
	if i < 0 {
		return publicKey{}, false, s.fetches
	}
	return s.keys[i], true, s.fetches
}

func (s *keySet) all(ctx context.Context) (set jwt.VerificationKeySet) {
	s.mu.RLock()
	keys, fetches := s.keys, s.fetches
	s.mu.RUnlock()
	if len(keys) == 0 { // they could not be had at start
		s.fetchAgain(ctx, fetches)
		s.mu.RLock()
		keys = s.keys
		s.mu.RUnlock()
	}
	for _, key := range keys {
		set.Keys = append(set.Keys, key.key)
	}
	return set
}

// fetchAgain fetches unless somebody has since the caller looked: whoever comes
// during a fetch waits for it and spends none of the allowance. The caller who
// hangs up does not end it for the others.
func (s *keySet) fetchAgain(ctx context.Context, seen int) {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	s.mu.RLock()
	fetches := s.fetches
	s.mu.RUnlock()
	if fetches == seen && s.refetches.Allow() {
		s.fetch(context.WithoutCancel(ctx))
	}
}

// fetch replaces the keys by what the URL gives. When that is not a set of keys
// it says so in the log and leaves them as they are.
func (s *keySet) fetch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	keys, err := s.get(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetches++
	if err != nil {
		s.log.WarnContext(ctx, "fetching the keys that sign tokens", obs.Err(err), slog.Int("known", len(s.keys)))
		return
	}
	s.keys = keys
}

func (s *keySet) get(ctx context.Context) ([]publicKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the JWKS URL answered %s", response.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxKeySetBytes)).Decode(&set); err != nil {
		return nil, fmt.Errorf("reading the set of keys: %w", err)
	}
	var keys []publicKey
	for _, raw := range set.Keys {
		if key, ok := parseKey(raw); ok {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("the JWKS URL gives no key that could verify a token")
	}
	return keys, nil
}

// parseKey leaves out what is not for us, as RFC 7517 has it: keys of unknown
// kinds, those for encryption, and shared secrets, which are none once they are
// published.
func parseKey(raw json.RawMessage) (key publicKey, ok bool) {
	jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
	if err != nil {
		return publicKey{}, false
	}
	fields := jwk.Marshal()
	if fields.USE != "" && fields.USE != jwkset.UseSig {
		return publicKey{}, false
	}
	key = publicKey{id: fields.KID, key: jwk.Key(), alg: fields.ALG.String()}
	if private, isPrivate := key.key.(interface{ Public() crypto.PublicKey }); isPrivate {
		key.key = private.Public()
	}
	_, shared := key.key.([]byte)
	return key, !shared
}
