package env

import (
	"log/slog"
	"net/netip"
	"strconv"
	"time"
)

// API is the configuration of the api process.
type API struct {
	Log
	Database
	Redis
	Identity
	Encryption
	Destinations
	Admission
	Rates
	Addr Address `env:"HOOKS_API_ADDR" envDefault:":8080"`
}

// Worker is the configuration of the worker process.
type Worker struct {
	Log
	Database
	Redis
	Encryption
	Destinations
	Admission
	MetricsAddr Address `env:"HOOKS_METRICS_ADDR" envDefault:":9091"`
	// Concurrency is the number of HTTP requests in flight in this process.
	Concurrency int `env:"HOOKS_WORKER_CONCURRENCY" envDefault:"256"`
	// A webhook is disabled when nothing has succeeded for DisableAfter, and not in
	// DisableAfterFailures deliveries.
	DisableAfter         time.Duration `env:"HOOKS_DISABLE_AFTER" envDefault:"120h"`
	DisableAfterFailures int           `env:"HOOKS_DISABLE_AFTER_FAILURES" envDefault:"20"`
	// Retention is the age at which events, deliveries and attempts are dropped.
	Retention time.Duration `env:"HOOKS_RETENTION" envDefault:"720h"`
}

// Monitor is the configuration of the monitor process.
type Monitor struct {
	Log
	Redis
	Addr     Address `env:"HOOKS_MONITOR_ADDR" envDefault:":8081"`
	User     string  `env:"HOOKS_MONITOR_USER,required"`
	Password Secret  `env:"HOOKS_MONITOR_PASSWORD,required"`
	ReadOnly bool    `env:"HOOKS_MONITOR_READ_ONLY" envDefault:"true"`
}

// Log says how a process logs.
type Log struct {
	Level  slog.Level `env:"HOOKS_LOG_LEVEL" envDefault:"info"`
	Format LogFormat  `env:"HOOKS_LOG_FORMAT" envDefault:"json"`
}

// ConnectionsApart are those of a process's connections to PostgreSQL that are a
// pool of their own: the api's for accepting, a worker's for leaders, the relay and
// pruning.
const ConnectionsApart = 6

// Database says where PostgreSQL is.
type Database struct {
	URL DatabaseURL `env:"DATABASE_URL,required"`
	// Connections are all that a process may have, ConnectionsApart included.
	Connections int `env:"HOOKS_DATABASE_CONNECTIONS" envDefault:"26"`
}

// Redis says where Redis is.
type Redis struct {
	RedisURL RedisURL `env:"REDIS_URL,required"`
}

// Identity says which tokens to trust: exactly one of JWTSecret and JWKSURL is set.
type Identity struct {
	JWTSecret   Secret  `env:"HOOKS_JWT_SECRET"`
	JWKSURL     HTTPURL `env:"HOOKS_JWKS_URL"`
	JWTIssuer   string  `env:"HOOKS_JWT_ISSUER"`
	JWTAudience string  `env:"HOOKS_JWT_AUDIENCE"`
}

// Encryption holds the keys that seal secrets at rest.
type Encryption struct {
	Keys EncryptionKeys `env:"HOOKS_ENCRYPTION_KEYS,required"`
}

// Destinations says where webhooks may point.
type Destinations struct {
	AllowedNetworks []netip.Prefix `env:"HOOKS_ALLOWED_NETWORKS"`
	BlockedNetworks []netip.Prefix `env:"HOOKS_BLOCKED_NETWORKS"`
	AllowHTTP       bool           `env:"HOOKS_ALLOW_HTTP" envDefault:"false"`
}

// Admission is the window that the api and the workers must agree on.
type Admission struct {
	// EndpointConcurrency is the number of requests in flight per webhook, over all workers.
	EndpointConcurrency int `env:"HOOKS_ENDPOINT_CONCURRENCY" envDefault:"10"`
}

// Rates bounds what one tenant may send to one api process in a second; 0 does
// not. Twice as much may come at once.
type Rates struct {
	// TenantRequestRate is for operations that do more than accept events.
	TenantRequestRate int `env:"HOOKS_TENANT_REQUEST_RATE" envDefault:"1000"`
	// TenantEventRate is for events to accept, however many come together.
	TenantEventRate int `env:"HOOKS_TENANT_EVENT_RATE" envDefault:"50000"`
}

// LoadAPI reads what the api needs from "NAME=value" lines (os.Environ).
func LoadAPI(environ []string) (API, error) { return Load[API](environ) }

// LoadWorker reads what the worker needs.
func LoadWorker(environ []string) (Worker, error) { return Load[Worker](environ) }

// LoadMonitor reads what the monitor needs.
func LoadMonitor(environ []string) (Monitor, error) { return Load[Monitor](environ) }

const minJWTSecretBytes = 32

func (i Identity) check() []Fault {
	var faults []Fault
	hasSecret, hasJWKS := i.JWTSecret.Reveal() != "", i.JWKSURL.String() != ""
	if hasSecret == hasJWKS {
		faults = append(faults, Fault{"HOOKS_JWT_SECRET", "or HOOKS_JWKS_URL must be set, and not both"})
	}
	if hasSecret && len(i.JWTSecret.Reveal()) < minJWTSecretBytes {
		faults = append(faults, Fault{"HOOKS_JWT_SECRET", "must have at least 32 bytes"})
	}
	return faults
}

func (d Database) check() []Fault {
	return between("HOOKS_DATABASE_CONNECTIONS", d.Connections, ConnectionsApart+2, 1000)
}

func (a Admission) check() []Fault {
	return between("HOOKS_ENDPOINT_CONCURRENCY", a.EndpointConcurrency, 1, 1000)
}

func (r Rates) check() []Fault {
	return append(between("HOOKS_TENANT_REQUEST_RATE", r.TenantRequestRate, 0, 1_000_000),
		between("HOOKS_TENANT_EVENT_RATE", r.TenantEventRate, 0, 1_000_000)...)
}

func (w Worker) check() []Fault {
	faults := between("HOOKS_WORKER_CONCURRENCY", w.Concurrency, 1, 10_000)
	faults = append(faults, between("HOOKS_DISABLE_AFTER_FAILURES", w.DisableAfterFailures, 1, 1_000_000)...)
	if w.DisableAfter < time.Minute {
		faults = append(faults, Fault{"HOOKS_DISABLE_AFTER", "must be at least 1m, is " + w.DisableAfter.String()})
	}
	if w.Retention < time.Hour {
		faults = append(faults, Fault{"HOOKS_RETENTION", "must be at least 1h, is " + w.Retention.String()})
	}
	return faults
}

func between(name string, got, least, most int) []Fault {
	if got >= least && got <= most {
		return nil
	}
	return []Fault{{name, "must be from " + strconv.Itoa(least) + " to " + strconv.Itoa(most) + ", is " + strconv.Itoa(got)}}
}
