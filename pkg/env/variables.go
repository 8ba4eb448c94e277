package env

// Variable is one line of the list of settings.
type Variable struct {
	Name string
	// Default is empty when there is none.
	Default string
	Meaning string
}

// Variables returns the list of all settings of all processes.
//
// A HOOKS_* variable that is not listed is a start-up error in every process;
// one that only another process reads is ignored. A test holds this list and
// the config structs together.
func Variables() []Variable {
	return []Variable{
		{"DATABASE_URL", "", "PostgreSQL URL: postgres://user:password@host:5432/name?sslmode=..."},
		{"REDIS_URL", "", "redis://, rediss://, redis-sentinel://, or redis-cluster://h1:p,h2:p"},

		{"HOOKS_API_ADDR", ":8080", "listen address of the api; :0 picks a port and the log says which"},
		{"HOOKS_MONITOR_ADDR", ":8081", "listen address of the monitor"},
		{"HOOKS_METRICS_ADDR", ":9091", "listen address of the worker's /healthz, /readyz and /metrics"},

		{"HOOKS_JWT_SECRET", "", "HS256 key: the text's bytes, at least 32"},
		{"HOOKS_JWKS_URL", "", "https URL of RS256, ES256 and EdDSA keys, asked directly: no redirects, no proxy; exactly one of the two is set"},
		{"HOOKS_JWT_ISSUER", "", "the iss that tokens must carry, when set"},
		{"HOOKS_JWT_AUDIENCE", "", "the aud that tokens must carry, when set"},

		{"HOOKS_ENCRYPTION_KEYS", "", "comma-separated base64 32-byte keys; the first encrypts, all decrypt"},

		{"HOOKS_ALLOWED_NETWORKS", "", "CIDRs the sender may reach although not public, e.g. 127.0.0.0/8"},
		{"HOOKS_BLOCKED_NETWORKS", "", "CIDRs the sender may not reach although public, e.g. 168.63.129.16/32"},
		{"HOOKS_ALLOW_HTTP", "false", "accept http:// webhook URLs"},

		{"HOOKS_WORKER_CONCURRENCY", "256", "HTTP requests in flight per worker process"},
		{"HOOKS_ENDPOINT_CONCURRENCY", "10", "requests in flight per webhook, over all workers"},
		{"HOOKS_DISABLE_AFTER", "120h", "a webhook that has only failed for so long is disabled"},
		{"HOOKS_DISABLE_AFTER_FAILURES", "20", "but not before it failed in as many deliveries"},
		{"HOOKS_DATABASE_CONNECTIONS", "26", "PostgreSQL connections of each api and each worker, at most; at least 8"},

		{"HOOKS_TENANT_REQUEST_RATE", "1000", "requests a second that one tenant may send to one api process, accepting events apart; dear queries, and those with large answers, count for up to 360; 0 is no limit"},
		{"HOOKS_TENANT_EVENT_RATE", "50000", "events a second that one tenant may send to one api process, in batches or singly; 0 is no limit"},

		{"HOOKS_MONITOR_USER", "", "login of the monitor"},
		{"HOOKS_MONITOR_PASSWORD", "", "login of the monitor"},
		{"HOOKS_MONITOR_READ_ONLY", "true", "false lets the monitor's users run, archive and delete tasks"},

		{"HOOKS_RETENTION", "720h", "events, deliveries and attempts older than this are dropped"},

		{"HOOKS_LOG_LEVEL", "info", "debug, info, warn or error"},
		{"HOOKS_LOG_FORMAT", "json", "json, or text for people"},
	}
}
