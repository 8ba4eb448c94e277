package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	api "github.com/crm-webhooks/crm-webhooks/services/api/app"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/receiver"
	monitor "github.com/crm-webhooks/crm-webhooks/services/monitor/app"
	worker "github.com/crm-webhooks/crm-webhooks/services/worker/app"
)

// system is the services and the receiver, bound and not yet running.
type system struct {
	config   config
	api      *api.App
	worker   *worker.App
	monitor  *monitor.App
	receiver *receiver.Receiver
	server   *run.Server // of the receiver
	arrivals *arrivals
	opened   []service
}

type service interface {
	Run(ctx context.Context) error
	Close() error
}

// config is the settings of all services.
type config struct {
	environ []string
	api     env.API
	worker  env.Worker
	monitor env.Monitor
}

func (s *session) config() (c config, err error) {
	c.environ = s.kept.environ(s.out.Environ, s.servers)
	if c.api, err = env.LoadAPI(c.environ); err != nil {
		return config{}, err
	}
	if c.api.JWTSecret.Reveal() == "" || c.api.JWKSURL.String() != "" {
		return config{}, errors.New("dev makes its own tokens: unset HOOKS_JWKS_URL")
	}
	if c.worker, err = env.LoadWorker(c.environ); err != nil {
		return config{}, err
	}
	c.monitor, err = env.LoadMonitor(c.environ)
	return c, err
}

// newSystem binds every address, so that the ports are known before anything runs.
func (s *session) newSystem(ctx context.Context) (_ *system, err error) {
	config, err := s.config()
	if err != nil {
		return nil, err
	}
	s.logs.config = config.api.Log
	sys := &system{config: config, arrivals: newArrivals(s.out)}
	sys.receiver = receiver.New(receiver.Misbehaviour{}, sys.arrivals.add)
	defer func() {
		if err != nil {
			err = errors.Join(err, sys.close())
		}
	}()
	sys.api, err = bind(s, sys, "api", "HOOKS_API_ADDR", &config.api.Addr,
		func(log *slog.Logger) (*api.App, error) { return api.New(ctx, config.api, log) })
	if err != nil {
		return nil, err
	}
	sys.worker, err = bind(s, sys, "worker", "HOOKS_METRICS_ADDR", &config.worker.MetricsAddr,
		func(log *slog.Logger) (*worker.App, error) { return worker.New(ctx, config.worker, log) })
	if err != nil {
		return nil, err
	}
	sys.monitor, err = bind(s, sys, "monitor", "HOOKS_MONITOR_ADDR", &config.monitor.Addr,
		func(log *slog.Logger) (*monitor.App, error) { return monitor.New(ctx, config.monitor, log) })
	if err != nil {
		return nil, err
	}
	addr := env.Address(s.cmd.ReceiverAddr)
	sys.server, err = bind(s, sys, "receiver", "", &addr, func(log *slog.Logger) (*run.Server, error) {
		return run.NewServer(ctx, run.ServerConfig{Name: "receiver", Addr: string(addr), Handler: sys.receiver, Log: log})
	})
	return sys, err
}

// bind makes a service, on a free port when its own is taken, unless the user
// asked for that one by the named variable.
func bind[T service](s *session, sys *system, name, variable string, addr *env.Address, start func(*slog.Logger) (T, error)) (T, error) {
	log, err := s.logs.logger(name)
	if err != nil {
		var none T
		return none, err
	}
	app, err := start(log)
	if errors.Is(err, syscall.EADDRINUSE) && (variable == "" || s.out.Getenv(variable) == "") {
		s.out.Printf("%s  %s is in use: the %s gets a free port", s.out.Warn("!!"), *addr, name)
		host, _, _ := net.SplitHostPort(string(*addr))
		*addr = env.Address(net.JoinHostPort(host, "0"))
		app, err = start(log)
	}
	if err != nil {
		return app, fmt.Errorf("starting %s: %w", name, err)
	}
	sys.opened = append(sys.opened, app)
	return app, nil
}

func (sys *system) close() error {
	var errs []error
	for _, app := range sys.opened {
		errs = append(errs, app.Close())
	}
	return errors.Join(errs...)
}

func (sys *system) addTo(g *run.Group) {
	g.Add("api", sys.api.Run)
	g.Add("worker", sys.worker.Run)
	g.Add("monitor", sys.monitor.Run)
	g.Add("receiver", sys.server.Run)
}

func (sys *system) apiURL() string      { return baseURL(sys.api.Addr()) }
func (sys *system) monitorURL() string  { return baseURL(sys.monitor.Addr()) }
func (sys *system) metricsURL() string  { return baseURL(sys.worker.MetricsAddr()) }
func (sys *system) receiverURL() string { return baseURL(sys.server.Addr()) }

// baseURL is how this machine reaches a bound address.
func baseURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
