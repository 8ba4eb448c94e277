package env_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	caarlos "github.com/caarlos0/env/v11"
	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
)

const jwtSecret = "0123456789abcdef0123456789abcdef"

// encryptionKey is the base64 of 32 bytes of 7.
const encryptionKey = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="

func environ(extra ...string) []string {
	return append([]string{
		"PATH=/bin",
		"DATABASE_URL=postgres://crm:hunter2@db:5432/hooks?sslmode=disable&password=hunter2",
		"REDIS_URL=redis-cluster://user:hunter2@r1:6379,r2:6379",
		"HOOKS_JWT_SECRET=" + jwtSecret,
		"HOOKS_ENCRYPTION_KEYS=" + encryptionKey,
		"HOOKS_MONITOR_USER=ops",
		"HOOKS_MONITOR_PASSWORD=hunter2",
	}, extra...)
}

func TestLoadAPI_defaults(t *testing.T) {
	t.Parallel()
	got, err := env.LoadAPI(environ("HOOKS_JWKS_URL="))
	if err != nil {
		t.Fatal(err)
	}
	if got.Addr != ":8080" || got.EndpointConcurrency != 10 || got.AllowHTTP || got.Level != slog.LevelInfo ||
		got.Format != env.JSON || got.Connections != 26 || len(got.AllowedNetworks) != 0 {
		t.Errorf("defaults = %+v", got)
	}
	if sealed, err := got.Keys.Seal([]byte("x")); err != nil || got.Keys.NeedsReseal(sealed) {
		t.Errorf("sealing with the configured key: %v", err)
	}
	if got.JWTSecret.Reveal() != jwtSecret || !strings.Contains(got.URL.Reveal(), "hunter2") {
		t.Error("secrets were not kept")
	}
}

func TestLoadWorker_values(t *testing.T) {
	t.Parallel()
	got, err := env.LoadWorker(environ("HOOKS_WORKER_CONCURRENCY=64", "HOOKS_RETENTION=48h",
		"HOOKS_ALLOWED_NETWORKS=127.0.0.0/8, ::1/128", "HOOKS_LOG_LEVEL=DEBUG", "HOOKS_LOG_FORMAT=text", "HOOKS_METRICS_ADDR=127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	if diff := cmp.Diff(want, got.AllowedNetworks, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if got.Concurrency != 64 || got.Retention != 48*time.Hour || got.Level != slog.LevelDebug || got.Format != env.Text {
		t.Errorf("values = %+v", got)
	}
}

func TestLoadMonitor_readsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	got, err := env.LoadMonitor([]string{"REDIS_URL=redis://localhost", "HOOKS_MONITOR_USER=a", "HOOKS_MONITOR_PASSWORD=b",
		"HOOKS_WORKER_CONCURRENCY=not a number, but none of the monitor's business"})
	if err != nil {
		t.Fatal(err)
	}
	if !got.ReadOnly || got.User != "a" || got.Password.Reveal() != "b" {
		t.Errorf("monitor = %+v", got)
	}
}

func TestLoad_namesVariableAndRule(t *testing.T) {
	t.Parallel()
	type load func([]string) error
	api := func(e []string) error { _, err := env.LoadAPI(e); return err }
	worker := func(e []string) error { _, err := env.LoadWorker(e); return err }
	for name, tc := range map[string]struct {
		load  load
		lines string
		want  string
	}{
		"unknown":             {api, "HOOKS_COLOUR=blue", "HOOKS_COLOUR is not a setting"},
		"misspelt":            {api, "HOOKS_ALOW_HTTP=true", "HOOKS_ALOW_HTTP is not a setting; did you mean HOOKS_ALLOW_HTTP?"},
		"misspelt elsewhere":  {worker, "HOOKS_API_ADR=:1", "HOOKS_API_ADR is not a setting; did you mean HOOKS_API_ADDR?"},
		"required":            {api, "DATABASE_URL=", "DATABASE_URL must be set"},
		"scheme":              {api, "DATABASE_URL=mysql://x", "DATABASE_URL must start with postgres://, postgresql:// and name a host"},
		"redis scheme":        {worker, "REDIS_URL=localhost:6379", "REDIS_URL must start with redis://"},
		"short secret":        {api, "HOOKS_JWT_SECRET=short", "HOOKS_JWT_SECRET must have at least 32 bytes"},
		"no identity":         {api, "HOOKS_JWT_SECRET=", "HOOKS_JWT_SECRET or HOOKS_JWKS_URL must be set, and not both"},
		"two identities":      {api, "HOOKS_JWKS_URL=https://id.example/jwks", "HOOKS_JWT_SECRET or HOOKS_JWKS_URL must be set, and not both"},
		"jwks url":            {api, "HOOKS_JWT_SECRET=\nHOOKS_JWKS_URL=ftp://id.example", "HOOKS_JWKS_URL must be an http or https URL"},
		"key":                 {worker, "HOOKS_ENCRYPTION_KEYS=" + encryptionKey + ",c2hvcnQ=", "HOOKS_ENCRYPTION_KEYS must be comma-separated base64 of 32 bytes each (openssl rand -base64 32): encryption key 2 has 5 bytes, want 32"},
		"key twice":           {worker, "HOOKS_ENCRYPTION_KEYS=" + encryptionKey + "," + encryptionKey, "HOOKS_ENCRYPTION_KEYS must be comma-separated base64 of 32 bytes each (openssl rand -base64 32): encryption key 2 repeats key 1"},
		"cidr":                {api, "HOOKS_ALLOWED_NETWORKS=10.0.0.1", `HOOKS_ALLOWED_NETWORKS must be comma-separated CIDRs such as 127.0.0.0/8, "10.0.0.1" is none`},
		"cidr with host bits": {api, "HOOKS_BLOCKED_NETWORKS=10.0.0.7/8", "HOOKS_BLOCKED_NETWORKS must be networks: write 10.0.0.0/8 or 10.0.0.7/32 for 10.0.0.7/8"},
		"bool":                {api, "HOOKS_ALLOW_HTTP=maybe", `HOOKS_ALLOW_HTTP must be true or false, is "maybe"`},
		"number":              {worker, "HOOKS_WORKER_CONCURRENCY=many", `HOOKS_WORKER_CONCURRENCY must be a whole number, is "many"`},
		"range":               {worker, "HOOKS_ENDPOINT_CONCURRENCY=0", "HOOKS_ENDPOINT_CONCURRENCY must be from 1 to 1000, is 0"},
		"duration":            {worker, "HOOKS_RETENTION=30 days", `HOOKS_RETENTION must be a duration such as 90s or 720h, is "30 days"`},
		"short retention":     {worker, "HOOKS_RETENTION=5m", "HOOKS_RETENTION must be at least 1h, is 5m0s"},
		"short tolerance":     {worker, "HOOKS_DISABLE_AFTER=5s", "HOOKS_DISABLE_AFTER must be at least 1m, is 5s"},
		"few failures":        {worker, "HOOKS_DISABLE_AFTER_FAILURES=0", "HOOKS_DISABLE_AFTER_FAILURES must be from 1 to 1000000, is 0"},
		"address":             {api, "HOOKS_API_ADDR=8080", "HOOKS_API_ADDR must be a listen address"},
		"port":                {api, "HOOKS_API_ADDR=:66000", "HOOKS_API_ADDR must be a listen address"},
		"level":               {api, "HOOKS_LOG_LEVEL=chatty", "HOOKS_LOG_LEVEL must be debug, info, warn or error"},
		"format":              {api, "HOOKS_LOG_FORMAT=xml", "HOOKS_LOG_FORMAT must be json or text"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.load(environ(strings.Split(tc.lines, "\n")...))
			if err == nil {
				t.Fatal("no error")
			}
			if want := "configuration: " + tc.want; !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "; HOOKS") {
				t.Errorf("error = %q, want %q and nothing else", err, want)
			}
		})
	}
}

func TestLoad_reportsEveryFaultOnce(t *testing.T) {
	t.Parallel()
	_, err := env.LoadWorker([]string{"HOOKS_RETENTION=x", "HOOKS_WORKER_CONCURRENCY=0", "HOOKS_NOPE=1"})
	want := "configuration: HOOKS_NOPE is not a setting; " +
		"DATABASE_URL must be set; REDIS_URL must be set; HOOKS_ENCRYPTION_KEYS must be set; " +
		`HOOKS_RETENTION must be a duration such as 90s or 720h, is "x"; ` +
		"HOOKS_WORKER_CONCURRENCY must be from 1 to 10000, is 0"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v\nwant    %s", err, want)
	}
}

func TestLoad_composedByCaller(t *testing.T) {
	t.Parallel()
	type doctor struct {
		env.Database
		env.Redis
	}
	got, err := env.Load[doctor](environ())
	if err != nil {
		t.Fatal(err)
	}
	if want := "postgres://crm:[redacted]@db:5432/hooks"; got.URL.String() != want {
		t.Errorf("URL prints %s, want %s", got.URL, want)
	}
}

func TestConfig_neverPrintsSecrets(t *testing.T) {
	t.Parallel()
	api, err := env.LoadAPI(environ())
	if err != nil {
		t.Fatal(err)
	}
	monitor, err := env.LoadMonitor(environ())
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range []any{api, monitor} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("configuration", "config", config, "summary", env.Summary(config))
		texts := []string{log.String(), fmt.Sprint(config), fmt.Sprintf("%+v", config), fmt.Sprintf("%#v", config)}
		for _, text := range texts {
			for _, secret := range []string{"hunter2", jwtSecret, encryptionKey, "7, 7, 7", "7 7 7"} {
				if strings.Contains(text, secret) {
					t.Errorf("%q is in %s", secret, text)
				}
			}
		}
	}
}

func TestSummary_showsWhatOperatorsAskFor(t *testing.T) {
	t.Parallel()
	worker, err := env.LoadWorker(environ())
	if err != nil {
		t.Fatal(err)
	}
	got := env.Summary(worker).String()
	for _, want := range []string{"REDIS_URL=redis-cluster://user:[redacted]@r1:6379,r2:6379", "HOOKS_RETENTION=720h0m0s", "HOOKS_ENCRYPTION_KEYS=[redacted]"} {
		if !strings.Contains(got, want) {
			t.Errorf("summary %s lacks %s", got, want)
		}
	}
}

// The list and the structs say the same: no setting is read without being
// listed, listed without being read, or documented with another default.
func TestVariables_matchStructs(t *testing.T) {
	t.Parallel()
	listed := map[string]string{}
	for _, v := range env.Variables() {
		if _, twice := listed[v.Name]; twice || v.Meaning == "" {
			t.Errorf("%s is listed twice or has no meaning", v.Name)
		}
		listed[v.Name] = v.Default
	}
	read := map[string]string{}
	for _, config := range []any{&env.API{}, &env.Worker{}, &env.Monitor{}} {
		params, err := caarlos.GetFieldParams(config)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range params {
			if p.Key != "" {
				read[p.Key] = p.DefaultValue
			}
		}
		seen := map[string]bool{}
		for _, f := range reflect.VisibleFields(reflect.TypeOf(config).Elem()) {
			if seen[f.Name] {
				t.Errorf("%T has two fields %s: faults could not be told apart", config, f.Name)
			}
			seen[f.Name] = true
		}
	}
	if diff := cmp.Diff(listed, read); diff != "" {
		t.Error(diff)
	}
}
