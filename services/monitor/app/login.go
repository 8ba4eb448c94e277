package app

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// login lets one account in: browsers by a form and a session, programs by HTTP
// Basic authentication. Guessing is slowed down per address and over all
// addresses; who has a session is not concerned.
type login struct {
	user, password [sha256.Size]byte
	log            *slog.Logger
	guesses        *throttle
	sessions       *sessions
}

func newLogin(user, password string, log *slog.Logger, now func() time.Time) *login {
	return &login{
		user: sha256.Sum256([]byte(user)), password: sha256.Sum256([]byte(password)),
		log: log, guesses: newThrottle(now), sessions: newSessions(now),
	}
}

// require lets only the account through. A request without credentials, which
// is how every browser starts, is no guess.
func (l *login) require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := tokenOf(r); token != "" && l.sessions.has(token) {
			next.ServeHTTP(w, r)
			return
		}
		user, password, ok := r.BasicAuth()
		if !ok {
			l.ask(w, r)
			return
		}
		in, wait := l.attempt(r, user, password)
		switch {
		case wait > 0:
			retryAfter(w, wait)
			http.Error(w, tooMany, http.StatusTooManyRequests)
		case !in:
			l.ask(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

const tooMany = "too many failed logins, try again later"

func retryAfter(w http.ResponseWriter, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
}

// attempt checks credentials, and logs when they are wrong.
func (l *login) attempt(r *http.Request, user, password string) (in bool, wait time.Duration) {
	from := source(r)
	in, wait = l.guesses.attempt(from, func() bool { return l.matches(user, password) })
	if !in && wait == 0 {
		l.log.WarnContext(r.Context(), "login refused", slog.String("remote", from.String()))
	}
	return in, wait
}

// ask sends people to the form. Programs are asked for a password; a browser's
// scripts are not, or it would ask for one itself and keep it for good.
func (l *login) ask(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
		http.Redirect(w, r, loginPath, http.StatusSeeOther)
		return
	}
	scheme := "Basic"
	if r.Header.Get("Sec-Fetch-Mode") != "" {
		scheme = "Session"
	}
	w.Header().Set("WWW-Authenticate", scheme+` realm="crm-webhooks monitor", charset="UTF-8"`)
	http.Error(w, "login required", http.StatusUnauthorized)
}

// matches takes the same time for every input: hashes have one length, and both
// are always compared.
func (l *login) matches(user, password string) bool {
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	return subtle.ConstantTimeCompare(u[:], l.user[:])&subtle.ConstantTimeCompare(p[:], l.password[:]) == 1
}

// source is who is asking: an IPv4 address or an IPv6 network, of which one
// person has billions of addresses. Forwarding headers are not believed:
// anybody can send them.
func source(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap().WithZone("")
	if addr.Is4() {
		return addr
	}
	return netip.PrefixFrom(addr, 64).Masked().Addr()
}
