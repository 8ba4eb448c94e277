package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

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
// anybody may ask, and however many do, one of them looks for all. None waits for
// longer than readyTimeout, even when a look at a server that is frozen does.
func ready(check func(context.Context) error, log *slog.Logger) http.Handler {
	var probes singleflight.Group
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		looked := probes.DoChan("", func() (any, error) { //nolint:contextcheck // it is for others, too
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), readyTimeout)
			defer cancel()
			return nil, check(ctx)
		})
		var err error
		select {
		case result := <-looked:
			err = result.Err
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			log.WarnContext(ctx, "not ready", obs.Err(err))
			writeHealth(w, http.StatusServiceUnavailable, health{Status: "unavailable", Reason: reasonOf(err)})
			return
		}
		writeHealth(w, http.StatusOK, health{Status: "ok"})
	})
}

// reasonOf shows an error that has words for everybody, and no other.
func reasonOf(err error) string {
	var public interface{ Reason() string }
	if errors.As(err, &public) {
		return public.Reason()
	}
	return "PostgreSQL does not answer"
}

func writeHealth(w http.ResponseWriter, status int, h health) {
	h.Version = obs.Version()
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(h) // to a prober who has hung up
}
