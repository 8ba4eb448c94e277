package devstack

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

const (
	clusterMasters = 3
	clusterNodes   = 2 * clusterMasters
	clusterSlots   = 16384
	// clusterBus is added to a port for the servers' talk among themselves.
	clusterBus = 10_000
	// clusterNodeTimeout is how long a master may be silent; production is more
	// patient, and then recovers that much later.
	clusterNodeTimeout = 2 * time.Second
)

// RedisCluster is three masters with a replica each.
type RedisCluster struct{ nodes []*Redis }

// NewRedisCluster finds the program and prepares a folder; nothing runs yet.
// All servers are set as cfg says.
func NewRedisCluster(cfg RedisConfig) (*RedisCluster, error) {
	cfg.Settings = withSettings(cfg.Settings, "cluster-enabled", "yes", "cluster-config-file", "nodes.conf",
		"cluster-node-timeout", strconv.FormatInt(clusterNodeTimeout.Milliseconds(), 10))
	nodes, err := newGroup(cfg, clusterNodes)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		n.server.freePort = freeClusterPort
	}
	return &RedisCluster{nodes}, nil
}

// freeClusterPort finds two free ports, both below the range of outgoing
// connections.
func freeClusterPort() (port int, err error) {
	for range 100 {
		if port, err = freePortIn(15000, 22000); err != nil {
			return 0, err
		}
		if err = tryPort(port + clusterBus); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("finding two free ports: %w", err)
}

// Start starts all of it and returns when every server serves and every master
// has its replica.
func (c *RedisCluster) Start(ctx context.Context) error {
	err := c.start(ctx)
	if err != nil {
		err = errors.Join(err, c.Kill())
	}
	return err
}

func (c *RedisCluster) start(ctx context.Context) error {
	starting, startCtx := errgroup.WithContext(ctx)
	for _, n := range c.nodes {
		starting.Go(func() error { return n.Start(startCtx) })
	}
	if err := starting.Wait(); err != nil {
		return err
	}
	clients := make([]*redis.Client, clusterNodes)
	for i, n := range c.nodes {
		clients[i] = redis.NewClient(&redis.Options{Addr: n.server.addr(), Password: n.password})
		defer clients[i].Close()
	}
	if err := c.join(ctx, clients); err != nil {
		return fmt.Errorf("forming a Redis cluster: %w", err)
	}
	for _, client := range clients {
		if err := waitFor(ctx, func(ctx context.Context) error { return serves(ctx, client) }); err != nil {
			return fmt.Errorf("waiting for a Redis cluster: %w", err)
		}
	}
	return nil
}

// join introduces the servers, shares the slots out and gives each master a
// replica.
func (c *RedisCluster) join(ctx context.Context, clients []*redis.Client) error {
	for _, n := range c.nodes[1:] {
		host, port := n.server.hostPort()
		if err := clients[0].ClusterMeet(ctx, host, port).Err(); err != nil {
			return err
		}
	}
	for i := range clusterMasters {
		from, to := i*clusterSlots/clusterMasters, (i+1)*clusterSlots/clusterMasters-1
		if err := clients[i].ClusterAddSlotsRange(ctx, from, to).Err(); err != nil {
			return err
		}
	}
	for i := range clusterMasters {
		id, err := clients[i].ClusterMyID(ctx).Result()
		if err != nil {
			return err
		}
		replica := clients[clusterMasters+i]
		// It must have heard of its master first.
		follow := func(ctx context.Context) error { return replica.ClusterReplicate(ctx, id).Err() }
		if err := waitFor(ctx, follow); err != nil {
			return err
		}
	}
	return nil
}

// serves returns nil when a server knows all others, all slots are served and, if
// it is a replica, it follows its master.
func serves(ctx context.Context, client *redis.Client) error {
	info, err := client.ClusterInfo(ctx).Result()
	if err != nil {
		return err
	}
	for _, want := range []string{"cluster_state:ok", "cluster_known_nodes:" + strconv.Itoa(clusterNodes)} {
		if !strings.Contains(info, want) {
			return errors.New("not yet " + want)
		}
	}
	replication, err := client.Info(ctx, "replication").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(replication, "connected_slaves:1") && !strings.Contains(replication, "master_link_status:up") {
		return errors.New("not yet replicating")
	}
	return nil
}

// Stop stops all servers; when ctx ends first it kills.
func (c *RedisCluster) Stop(ctx context.Context) error {
	var all errgroup.Group
	for _, n := range c.nodes {
		all.Go(func() error { return n.Stop(ctx) })
	}
	return all.Wait()
}

// Kill is SIGKILL for all servers.
func (c *RedisCluster) Kill() error {
	var errs []error
	for _, n := range c.nodes {
		errs = append(errs, n.Kill())
	}
	return errors.Join(errs...)
}

// URL returns the redis-cluster:// URL. It is valid after Start.
func (c *RedisCluster) URL() string {
	var hosts []string
	for _, n := range c.nodes {
		hosts = append(hosts, n.server.addr())
	}
	return "redis-cluster://:" + c.nodes[0].password + "@" + strings.Join(hosts, ",")
}

// Masters are the servers that were masters at the start.
func (c *RedisCluster) Masters() []*Redis { return c.nodes[:clusterMasters] }
