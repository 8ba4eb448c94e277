package devstack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	sentinelMaster   = "hooks"
	sentinelReplicas = 2
	sentinelCount    = 3
	sentinelQuorum   = 2
	// sentinelDownAfter is how long a primary may be silent; production is more
	// patient, and then recovers that much later.
	sentinelDownAfter = 2 * time.Second
)

// RedisSentinel is one primary with two replicas, and three sentinels that
// promote a replica when the primary is gone.
type RedisSentinel struct {
	nodes     []*Redis
	sentinels []*sentinel
}

// NewRedisSentinel finds the programs and prepares a folder; nothing runs yet.
// All servers are set as cfg says.
func NewRedisSentinel(cfg RedisConfig) (*RedisSentinel, error) {
	nodes, err := newGroup(cfg, 1+sentinelReplicas)
	if err != nil {
		return nil, err
	}
	g := &RedisSentinel{nodes: nodes}
	for i := range sentinelCount {
		s, err := newSentinel(filepath.Join(cfg.Dir, "sentinel-"+strconv.Itoa(i)), nodes[0])
		if err != nil {
			return nil, err
		}
		g.sentinels = append(g.sentinels, s)
	}
	return g, nil
}

// newGroup prepares servers that know each other's password, which is one.
func newGroup(cfg RedisConfig, n int) ([]*Redis, error) {
	nodes := make([]*Redis, n)
	for i := range nodes {
		own := cfg
		own.Dir = filepath.Join(cfg.Dir, "redis-"+strconv.Itoa(i))
		node, err := NewRedis(own)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			node.password = nodes[0].password
		}
		node.cfg.Settings = withSettings(cfg.Settings, "masterauth", node.password)
		nodes[i] = node
	}
	return nodes, nil
}

// withSettings adds pairs of names and values to a copy.
func withSettings(settings map[string]string, pairs ...string) map[string]string {
	out := map[string]string{}
	for name, value := range settings {
		out[name] = value
	}
	for pair := range slices.Chunk(pairs, 2) {
		out[pair[0]] = pair[1]
	}
	return out
}

// Start starts all of it and returns when a failover would work.
func (g *RedisSentinel) Start(ctx context.Context) error {
	err := g.start(ctx)
	if err != nil {
		err = errors.Join(err, g.Kill())
	}
	return err
}

func (g *RedisSentinel) start(ctx context.Context) error {
	primary := g.nodes[0]
	if err := primary.Start(ctx); err != nil {
		return err
	}
	host, port := primary.server.hostPort()
	starting, startCtx := errgroup.WithContext(ctx)
	for _, replica := range g.nodes[1:] {
		replica.cfg.Settings = withSettings(replica.cfg.Settings, "replicaof", host+" "+port)
		starting.Go(func() error { return replica.Start(startCtx) })
	}
	for _, s := range g.sentinels {
		starting.Go(func() error { return s.start(startCtx) })
	}
	if err := starting.Wait(); err != nil {
		return err
	}
	for _, s := range g.sentinels {
		if err := waitFor(ctx, s.complete); err != nil {
			return fmt.Errorf("waiting for sentinels: %w", err)
		}
	}
	return nil
}

// Stop stops all servers; when ctx ends first it kills.
func (g *RedisSentinel) Stop(ctx context.Context) error {
	var all errgroup.Group
	for _, s := range g.servers() {
		all.Go(func() error { return s.end(ctx) })
	}
	return all.Wait()
}

// Kill is SIGKILL for all servers.
func (g *RedisSentinel) Kill() error {
	var errs []error
	for _, s := range g.servers() {
		errs = append(errs, s.kill())
	}
	return errors.Join(errs...)
}

func (g *RedisSentinel) servers() []*server {
	var all []*server
	for _, s := range g.sentinels {
		all = append(all, &s.server)
	}
	for _, n := range g.nodes {
		all = append(all, &n.server)
	}
	return all
}

// URL returns the redis-sentinel:// URL of database 0. It is valid after Start.
func (g *RedisSentinel) URL() string {
	var hosts []string
	for _, s := range g.sentinels {
		hosts = append(hosts, s.server.addr())
	}
	query := url.Values{"master": {sentinelMaster}, "sentinel_password": {g.sentinels[0].password}}
	return "redis-sentinel://:" + g.nodes[0].password + "@" + strings.Join(hosts, ",") + "/0?" + query.Encode()
}

// Primary is the server that the sentinels point to at the moment.
func (g *RedisSentinel) Primary(ctx context.Context) (*Redis, error) {
	client := g.sentinels[0].client()
	defer client.Close()
	addr, err := client.GetMasterAddrByName(ctx, sentinelMaster).Result()
	if err != nil {
		return nil, fmt.Errorf("asking a sentinel: %w", err)
	}
	for _, n := range g.nodes {
		if n.server.addr() == net.JoinHostPort(addr[0], addr[1]) {
			return n, nil
		}
	}
	return nil, fmt.Errorf("sentinels point to %s, which is none of ours", addr)
}

// sentinel is one watching process.
type sentinel struct {
	dir      string
	password string
	primary  *Redis
	server   server
}

func newSentinel(dir string, primary *Redis) (*sentinel, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making folder for a sentinel: %w", err)
	}
	return &sentinel{
		dir: dir, primary: primary, password: primary.password,
		server: server{name: "Redis Sentinel", log: filepath.Join(dir, "sentinel.log"), stop: syscall.SIGTERM, freePort: freePort},
	}, nil
}

func (s *sentinel) start(ctx context.Context) error {
	return s.server.start(ctx, s.command, func(ctx context.Context) error { return pingRedis(ctx, s.server.addr(), s.password) })
}

// command gives the sentinel a file, where it also keeps its state.
func (s *sentinel) command() *exec.Cmd {
	path := filepath.Join(s.dir, "sentinel.conf")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		_ = os.WriteFile(path, []byte(s.settings()), 0o600) // without it the sentinel says what it misses
	}
	cmd := exec.Command(s.primary.program.path, path, "--sentinel") //nolint:noctx // it outlives the context of its start
	cmd.Dir = s.dir
	cmd.Env = cleanEnv()
	cmd.SysProcAttr = childAttr(s.server.stop, nil)
	return cmd
}

func (s *sentinel) settings() string {
	host, port := s.server.hostPort()
	primaryHost, primaryPort := s.primary.server.hostPort()
	named := func(setting string, value any) string {
		return fmt.Sprintf("sentinel %s %s %v", setting, sentinelMaster, value)
	}
	return strings.Join([]string{
		"bind " + host, "port " + port, "requirepass " + s.password, "sentinel sentinel-pass " + s.password,
		"daemonize no", `logfile ""`,
		named("monitor", fmt.Sprintf("%s %s %d", primaryHost, primaryPort, sentinelQuorum)),
		named("auth-pass", s.primary.password),
		named("down-after-milliseconds", sentinelDownAfter.Milliseconds()),
		named("failover-timeout", 10_000),
		named("parallel-syncs", 1),
	}, "\n") + "\n"
}

func (s *sentinel) client() *redis.SentinelClient {
	return redis.NewSentinelClient(&redis.Options{Addr: s.server.addr(), Password: s.password, Protocol: 2})
}

// complete returns nil when the sentinel knows the others and both replicas.
func (s *sentinel) complete(ctx context.Context) error {
	client := s.client()
	defer client.Close()
	if err := client.CkQuorum(ctx, sentinelMaster).Err(); err != nil {
		return err
	}
	known, err := client.Master(ctx, sentinelMaster).Result()
	if err != nil {
		return err
	}
	if known["num-slaves"] != strconv.Itoa(sentinelReplicas) || known["num-other-sentinels"] != strconv.Itoa(sentinelCount-1) {
		return fmt.Errorf("a sentinel knows %s replicas and %s sentinels", known["num-slaves"], known["num-other-sentinels"])
	}
	return nil
}

// waitFor calls ready until it returns nil or ctx ends.
func waitFor(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(10 * pollEvery)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
