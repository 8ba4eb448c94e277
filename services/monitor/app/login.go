package app

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// login is HTTP Basic authentication with one account. Guessing is slowed down
// per address and over all addresses.
type login struct {
	user, password [sha256.Size]byte
	log            *slog.Logger
	guesses        *throttle
}

func newLogin(user, password string, log *slog.Logger, now func() time.Time) *login {
	return &login{
		user: sha256.Sum256([]byte(user)), password: sha256.Sum256([]byte(password)),
		log: log, guesses: newThrottle(now),
	}
}

// require lets only the account through. A request without credentials, which
// is how every browser starts, is no guess.
func (l *login) require(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, ok := r.BasicAuth()
		if !ok {
			l.ask(w)
			return
		}
		from := source(r)
		if wait := l.guesses.wait(from); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			http.Error(w, "too many failed logins, try again later", http.StatusTooManyRequests)
			return
		}
		if !l.matches(user, password) {
			l.guesses.failed(from)
			l.log.WarnContext(r.Context(), "login refused", slog.String("remote", from.String()))
			l.ask(w)
			return
		}
		l.guesses.succeeded(from)
		next.ServeHTTP(w, r)
	})
}

func (l *login) ask(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Basic realm="crm-webhooks monitor", charset="UTF-8"`)
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
