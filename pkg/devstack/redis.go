package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// pingTimeout bounds one try to talk to a Redis that may still be loading.
const pingTimeout = time.Second

// RedisConfig says what to start.
type RedisConfig struct {
	// Dir is a folder for this server alone. Data found there are used again.
	Dir string
	// Durable turns on the append-only file, synced every second. Without it
	// nothing is ever written.
	Durable bool
	// Databases is the number of databases, 16 when zero.
	Databases int
	// Settings are further settings by name.
	Settings map[string]string
}

// Redis is one private Redis (or Valkey). Start, Stop and Kill may follow each
// other in any order; each is to be called by one goroutine at a time.
type Redis struct {
	cfg      RedisConfig
	program  candidate
	password string
	server   server
}

// NewRedis finds the program and prepares the folder; nothing runs yet.
func NewRedis(cfg RedisConfig) (*Redis, error) {
	program, err := newestServer("Redis", minRedis(), redisPrograms())
	if err != nil {
		return nil, err
	}
	if cfg.Databases == 0 {
		cfg.Databases = 16
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making folder for Redis: %w", err)
	}
	r := &Redis{cfg: cfg, program: program}
	r.server = server{name: "Redis", log: filepath.Join(cfg.Dir, "redis.log"), stop: syscall.SIGTERM, freePort: freePort}
	r.password, err = storedPassword(filepath.Join(cfg.Dir, "password"))
	return r, err
}

// Version returns the server's version, e.g. "7.0".
func (r *Redis) Version() string { return r.program.version.String() }

// URL returns the URL of database 0. It is valid after the first Start and
// stays the same over Stop, Kill and Start.
func (r *Redis) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", r.password), Host: r.server.addr(), Path: "/0"}
	return u.String()
}

// PID returns the process id of the running server, 0 when it does not run.
func (r *Redis) PID() int { return r.server.pid() }

// Exited is closed when the server that the last Start started has ended.
func (r *Redis) Exited() <-chan struct{} { return r.server.exited() }

// Start starts the server and returns when it has loaded its data and answers.
func (r *Redis) Start(ctx context.Context) error {
	return r.server.start(ctx, r.command, r.ping)
}

// Stop stops the server and waits; when ctx ends first it kills.
func (r *Redis) Stop(ctx context.Context) error { return r.server.end(ctx) }

// Kill is SIGKILL: what is not on disk is lost.
func (r *Redis) Kill() error { return r.server.kill() }

// command feeds the configuration through standard input, so that the password
// is in no argument list.
func (r *Redis) command() *exec.Cmd {
	cmd := exec.Command(r.program.path, "-") //nolint:noctx // it outlives the context of its start
	cmd.Dir = r.cfg.Dir
	cmd.Env = cleanEnv()
	cmd.Stdin = strings.NewReader(r.settings())
	cmd.SysProcAttr = childAttr(r.server.stop, nil)
	return cmd
}

func (r *Redis) settings() string {
	host, port := r.server.hostPort()
	appendOnly := "no"
	if r.cfg.Durable {
		appendOnly = "yes"
	}
	lines := []string{
		"bind " + host, "port " + port, "requirepass " + r.password,
		"daemonize no", `logfile ""`, "databases " + strconv.Itoa(r.cfg.Databases),
		`save ""`, "appendonly " + appendOnly, "appendfsync everysec",
		"maxmemory-policy noeviction",
		// Queued tasks are small hashes; packed they need a third less memory. This
		// is the name that 6.2 knows too.
		"hash-max-ziplist-value 512",
	}
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Settings)) {
		lines = append(lines, name+" "+r.cfg.Settings[name])
	}
	return strings.Join(lines, "\n") + "\n"
}

func (r *Redis) ping(ctx context.Context) error { return pingRedis(ctx, r.server.addr(), r.password) }

// pingRedis speaks the protocol itself: a client library would retry and log by
// its own rules while the server is still starting.
func pingRedis(ctx context.Context, addr, password string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connecting to private Redis: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(pingTimeout)); err != nil {
		return fmt.Errorf("asking private Redis: %w", err)
	}
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\nPING\r\n", password); err != nil {
		return fmt.Errorf("asking private Redis: %w", err)
	}
	lines := bufio.NewScanner(conn)
	for _, want := range []string{"+OK", "+PONG"} {
		if lines.Scan(); lines.Text() != want {
			return errors.Join(fmt.Errorf("private Redis answers %q", lines.Text()), lines.Err())
		}
	}
	return nil
}
