package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
)

// The limits of a connection. Writing starts when the request's header has been
// read, so it includes the handler's time.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 75 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// ServerConfig describes an HTTP server; all fields but Grace are required.
type ServerConfig struct {
	// Name is for logs: "api", "metrics".
	Name    string
	Addr    string
	Handler http.Handler
	Log     *slog.Logger
	// Grace is the time that requests in flight get at the stop, 10 s by default.
	Grace time.Duration
}

// Server is an HTTP server as a component.
type Server struct {
	config   ServerConfig
	listener net.Listener
	http     *http.Server
	abort    context.CancelFunc
}

const defaultServerGrace = 10 * time.Second

// NewServer binds the address, so that a port in use is an error at start and
// that Addr is known before Run.
func NewServer(ctx context.Context, config ServerConfig) (*Server, error) {
	if config.Grace == 0 {
		config.Grace = defaultServerGrace
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", config.Addr)
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", config.Name, err)
	}
	// Requests outlive the process's context by the grace: they are ended by
	// abort, not by the signal.
	requests, abort := context.WithCancel(context.WithoutCancel(ctx))
	return &Server{
		config:   config,
		listener: listener,
		abort:    abort,
		http: &http.Server{
			Handler:           config.Handler,
			BaseContext:       func(net.Listener) context.Context { return requests },
			ErrorLog:          slog.NewLogLogger(config.Log.Handler(), slog.LevelDebug),
			ReadHeaderTimeout: readHeaderTimeout,
			ReadTimeout:       readTimeout,
			WriteTimeout:      writeTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeaderBytes,
		},
	}, nil
}

// Addr returns the address that was bound: with :0, the port that was picked.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close releases the address of a server that will not Run.
func (s *Server) Close() error {
	s.abort()
	return s.listener.Close()
}

// Run serves until ctx ends, then lets requests in flight finish within Grace
// and cuts off the rest.
func (s *Server) Run(ctx context.Context) error {
	defer s.abort()
	s.config.Log.InfoContext(ctx, "listening", obs.Component(s.config.Name), slog.String(obs.KeyAddress, s.Addr()))
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }() // waited for on both paths
	select {
	case err := <-served:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	err := s.shutdown(ctx)
	if served := <-served; err == nil && !errors.Is(served, http.ErrServerClosed) {
		err = fmt.Errorf("serving: %w", served)
	}
	return err
}

func (s *Server) shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.config.Grace)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s.abort()
	_ = s.http.Close()
	return fmt.Errorf("requests were still running %s after the stop", s.config.Grace)
}
