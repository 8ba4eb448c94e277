package app

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

const (
	// A session ends when no page has asked for anything for sessionIdle, and
	// after sessionLife whatever is open.
	sessionIdle = 30 * time.Minute
	sessionLife = 12 * time.Hour
	// maxSessions bounds the memory; one more ends the oldest.
	maxSessions = 1000

	sessionCookie = "monitor_session"
)

// sessions are the logins of browsers. They are in memory: a restart ends them
// all, and so does a new password.
type sessions struct {
	now func() time.Time

	mu   sync.Mutex
	open map[[sha256.Size]byte]*session // by the token's hash: looking it up tells nothing about others
}

type session struct{ began, seen time.Time }

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, open: make(map[[sha256.Size]byte]*session)}
}

// begin returns the token of a new session.
func (s *sessions) begin() (token string) {
	token = rand.Text() + rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if len(s.open) >= maxSessions {
		s.makeRoom(now)
	}
	s.open[sha256.Sum256([]byte(token))] = &session{began: now, seen: now}
	return token
}

func (s *sessions) makeRoom(now time.Time) {
	var oldest [sha256.Size]byte
	for key, known := range s.open {
		if known.over(now) {
			delete(s.open, key)
		} else if first, ok := s.open[oldest]; !ok || known.began.Before(first.began) {
			oldest = key
		}
	}
	if len(s.open) >= maxSessions {
		delete(s.open, oldest)
	}
}

// has tells whether a token's session goes on, and keeps it going.
func (s *sessions) has(token string) bool {
	key := sha256.Sum256([]byte(token))
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	known, ok := s.open[key]
	if !ok {
		return false
	}
	if known.over(now) {
		delete(s.open, key)
		return false
	}
	known.seen = now
	return true
}

func (s *sessions) end(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(token)))
}

func (s *session) over(now time.Time) bool {
	return now.Sub(s.seen) >= sessionIdle || now.Sub(s.began) >= sessionLife
}

// cookie is how a browser keeps a token: out of scripts' and other sites' reach,
// and, where TLS is in use, out of plain HTTP's.
func cookie(r *http.Request, token string) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // Secure wherever TLS is in use
		Name: cookieName(r), Value: token, Path: "/", MaxAge: int(sessionLife.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: isSecure(r),
	}
	if token == "" {
		c.MaxAge = -1 // forget it
	}
	return c
}

// cookieName lets browsers refuse a cookie of that name that came in another way.
func cookieName(r *http.Request) string {
	if isSecure(r) {
		return "__Host-" + sessionCookie
	}
	return sessionCookie
}

// isSecure believes a proxy's word: who lies about it only makes his own
// browser keep a cookie to TLS.
func isSecure(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// tokenOf returns the request's token, empty without one.
func tokenOf(r *http.Request) string {
	c, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	return c.Value
}
