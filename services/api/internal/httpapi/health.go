package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// readyTimeout is below what orchestrators wait for a probe.
const readyTimeout = 2 * time.Second

type health struct {
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Version string `json:"version"`
}

// healthy says that the process is up, and nothing about what it depends on: a
// restart would not mend that.
func healthy() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeHealth(w, http.StatusOK, health{Status: "ok"})
	})
}

// ready says whether requests would be answered. The reason names no address:
// anybody may ask.
func ready(check func(context.Context) error, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := check(ctx); err != nil {
			log.WarnContext(ctx, "not ready", obs.Err(err))
			writeHealth(w, http.StatusServiceUnavailable, health{Status: "unavailable", Reason: "PostgreSQL does not answer"})
			return
		}
		writeHealth(w, http.StatusOK, health{Status: "ok"})
	})
}

func writeHealth(w http.ResponseWriter, status int, h health) {
	h.Version = obs.Version()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(h) // to a prober who has hung up
}
