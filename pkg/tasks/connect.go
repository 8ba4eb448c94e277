package tasks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

const (
	dialTimeout = 3 * time.Second
	// ioTimeout is generous: a Redis that saves its data set may stall for a while.
	ioTimeout   = 5 * time.Second
	poolTimeout = ioTimeout + time.Second
	idleTimeout = 5 * time.Minute
	poolSize    = 64
	bufferBytes = 16 << 10
	pingTimeout = 2 * time.Second
	// clusterReload is how old a client's picture of a cluster may be. A master
	// that died does not say where its slots went; the library's default would
	// keep asking it for up to a minute.
	clusterReload = 2 * time.Second
)

// Connect makes a client for a Redis URL without talking to the server; the
// caller closes it. The forms are
//
//	redis://[user:password@]host[:6379][/db]
//	rediss://...                                          the same over TLS
//	redis-sentinel://[user:password@]host[:26379],...[/db]?master=name
//	redis-cluster://[user:password@]host[:6379],...
//
// Reserved characters in a password are percent-encoded. User and password are
// those of the Redis servers; sentinels that want their own get
// sentinel_user=...&sentinel_password=.... tls=true asks for TLS where the
// scheme does not. An error never repeats any part of the URL but its scheme,
// because the password is in there.
//
// No command takes longer than 8 s, whatever its context says.
func Connect(rawURL string) (redis.UniversalClient, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redis URL: %w", err)
	}
	c := t.client()
	c.AddHook(limit(commandLimit))
	return c, nil
}

func (t target) client() redis.UniversalClient {
	o := t.options()
	switch t.kind {
	case kindSentinel:
		return redis.NewFailoverClient(o.Failover())
	case kindCluster:
		cluster := o.Cluster()
		cluster.ClusterStateReloadInterval = clusterReload
		return redis.NewClusterClient(cluster)
	default:
		return redis.NewClient(o.Simple())
	}
}

// Ping asks the server, or every master of a cluster, for a sign of life.
func Ping(ctx context.Context, c redis.UniversalClient) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pingTimeout, errors.New("redis did not answer in time"))
	defer cancel()
	ping := func(ctx context.Context, c *redis.Client) error { return c.Ping(ctx).Err() }
	var err error
	if cluster, ok := c.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, ping)
	} else {
		err = c.Ping(ctx).Err()
	}
	if err != nil {
		return fmt.Errorf("pinging redis: %w", err)
	}
	return nil
}

// RouteClientLog sends what the Redis client library logs, for the whole
// process, to log at debug level: each of its errors also reaches a caller who
// says it better. Call it once, before Connect.
func RouteClientLog(log *slog.Logger) { redis.SetLogger(clientLog{log}) }

type clientLog struct{ log *slog.Logger }

// Printf is the library's interface.
func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	if l.log.Enabled(ctx, slog.LevelDebug) {
		l.log.DebugContext(ctx, "redis client", slog.String("detail", fmt.Sprintf(format, v...)))
	}
}

type targetKind int

const (
	kindSingle targetKind = iota
	kindSentinel
	kindCluster
)

// target is a parsed Redis URL.
type target struct {
	kind                           targetKind
	addrs                          []string
	db                             int
	user, password                 string
	master                         string
	sentinelUser, sentinelPassword string
	tls                            bool
}

func (t target) options() *redis.UniversalOptions {
	o := &redis.UniversalOptions{
		Addrs: t.addrs, DB: t.db, Username: t.user, Password: t.password,
		MasterName: t.master, SentinelUsername: t.sentinelUser, SentinelPassword: t.sentinelPassword,
		DialTimeout: dialTimeout, ReadTimeout: ioTimeout, WriteTimeout: ioTimeout,
		PoolSize: poolSize, PoolTimeout: poolTimeout, ConnMaxIdleTime: idleTimeout,
		ReadBufferSize: bufferBytes, WriteBufferSize: bufferBytes,
		// Without this a caller's deadline would not bound the socket.
		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if t.tls {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if t.kind == kindSingle {
			o.TLSConfig.ServerName, _, _ = net.SplitHostPort(t.addrs[0])
		}
	}
	o.Dialer = dialer(o.TLSConfig)
	return o
}

// parseURL takes the list of hosts apart by hand, because net/url knows only
// one host, and builds its own error texts, because those of net/url quote.
func parseURL(raw string) (target, error) {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(raw), "://")
	if !ok {
		return target{}, errors.New("must start with redis://, rediss://, redis-sentinel:// or redis-cluster://")
	}
	var t target
	port := "6379"
	switch scheme {
	case "redis":
	case "rediss":
		t.tls = true
	case "redis-sentinel":
		t.kind, port = kindSentinel, "26379"
	case "redis-cluster":
		t.kind = kindCluster
	default:
		return target{}, errors.New("scheme must be redis, rediss, redis-sentinel or redis-cluster")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if err := t.parseAuthority(authority, port); err != nil {
		return target{}, err
	}
	if err := t.parseTail(tail); err != nil {
		return target{}, err
	}
	return t, nil
}

func (t *target) parseAuthority(authority, port string) error {
	hosts := authority
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, _ := strings.Cut(authority[:at], ":")
		var errUser, errPassword error
		t.user, errUser = url.PathUnescape(user)
		t.password, errPassword = url.PathUnescape(password)
		if errUser != nil || errPassword != nil {
			return errors.New("user and password must be percent-encoded")
		}
		hosts = authority[at+1:]
	}
	for host := range strings.SplitSeq(hosts, ",") {
		addr, err := hostPort(host, port)
		if err != nil {
			return err
		}
		t.addrs = append(t.addrs, addr)
	}
	if t.kind == kindSingle && len(t.addrs) > 1 {
		return errors.New("several hosts need redis-sentinel or redis-cluster")
	}
	return nil
}

func hostPort(s, defaultPort string) (string, error) {
	if s == "" {
		return "", errors.New("host is missing")
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if !strings.Contains(s, ":") || (strings.HasSuffix(s, "]") && bare != s) {
		return net.JoinHostPort(bare, defaultPort), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return "", errors.New("hosts must be host or host:port; an @ or / in a password must be percent-encoded")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", errors.New("port must be 1 to 65535; a : or / in a password must be percent-encoded")
	}
	return net.JoinHostPort(host, port), nil
}

func (t *target) parseTail(tail string) error {
	u, err := url.Parse(tail)
	if err != nil || u.Fragment != "" {
		return errors.New("what follows the hosts must be /db and ?name=value")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("query must be name=value, percent-encoded")
	}
	if db := strings.Trim(u.Path, "/"); db != "" {
		t.db, err = strconv.Atoi(db)
		if err != nil || t.db < 0 {
			return errors.New("database must be a number, as in redis://host:6379/0")
		}
	}
	for name := range query {
		value := query.Get(name)
		switch {
		case name == "tls" && (value == "true" || value == "false"):
			t.tls = t.tls || value == "true"
		case name == "master" && t.kind == kindSentinel:
			t.master = value
		case name == "sentinel_user" && t.kind == kindSentinel:
			t.sentinelUser = value
		case name == "sentinel_password" && t.kind == kindSentinel:
			t.sentinelPassword = value
		default:
			return errors.New("query has a parameter that this scheme does not know, or a bad value; known are tls=true and, for sentinels, master, sentinel_user and sentinel_password")
		}
	}
	if t.kind == kindSentinel && t.master == "" {
		return errors.New("redis-sentinel needs ?master=name")
	}
	if t.kind == kindCluster && t.db != 0 {
		return errors.New("a cluster has no database but 0")
	}
	return nil
}
