package app

import (
	"log/slog"
	"net/http"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// maxBody is far above any list of task ids that the UI sends.
const maxBody = 1 << 20

// secured sets what holds for every answer. Pages add their own content policy.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// guardChanges lets only reading requests through, or, where changes are
// allowed, those that come from our own pages. A browser sends the login along
// with a request from any site. What was done is logged.
func (a *App) guardChanges(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			next.ServeHTTP(w, r)
			return
		}
		if a.config.ReadOnly {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the monitor is read-only", http.StatusMethodNotAllowed)
			return
		}
		if err := origins.Check(r); err != nil {
			a.log.WarnContext(r.Context(), "change refused, it came from another site", slog.String(obs.KeyPath, r.URL.Path))
			http.Error(w, "this request came from another site", http.StatusForbidden)
			return
		}
		a.log.InfoContext(r.Context(), "change by an operator", slog.String(obs.KeyMethod, r.Method),
			slog.String(obs.KeyPath, r.URL.Path), slog.String("remote", r.RemoteAddr))
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}
