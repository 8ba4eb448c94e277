package tasks

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]target{
		"redis://localhost":                     {addrs: []string{"localhost:6379"}},
		"redis://localhost:6380/3":              {addrs: []string{"localhost:6380"}, db: 3},
		"redis://:pw@10.0.0.1:6380/":            {addrs: []string{"10.0.0.1:6380"}, password: "pw"},
		"redis://app:p%40ss%2Fw%3A@[::1]:6380":  {addrs: []string{"[::1]:6380"}, user: "app", password: "p@ss/w:"},
		"redis://[::1]":                         {addrs: []string{"[::1]:6379"}},
		"rediss://app:pw@cache.example.com/1":   {addrs: []string{"cache.example.com:6379"}, user: "app", password: "pw", db: 1, tls: true},
		"redis-cluster://a:7000,b:7001,c":       {kind: kindCluster, addrs: []string{"a:7000", "b:7001", "c:6379"}},
		"redis-cluster://u:p@a,b?tls=true":      {kind: kindCluster, addrs: []string{"a:6379", "b:6379"}, user: "u", password: "p", tls: true},
		"redis-sentinel://s1,s2:26380?master=m": {kind: kindSentinel, addrs: []string{"s1:26379", "s2:26380"}, master: "m"},
		"redis-sentinel://u:p@s1:1,s2:2/4?master=m&sentinel_user=su&sentinel_password=sp": {
			kind: kindSentinel, addrs: []string{"s1:1", "s2:2"}, user: "u", password: "p", db: 4,
			master: "m", sentinelUser: "su", sentinelPassword: "sp",
		},
	} {
		got, err := parseURL(raw)
		if err != nil {
			t.Errorf("parseURL(%q): %v", raw, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(target{})); diff != "" {
			t.Errorf("parseURL(%q) (-want +got):\n%s", raw, diff)
		}
	}
}

func TestConnect_clientPerScheme(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]func(any) bool{
		"redis://h":                   func(c any) bool { _, ok := c.(*redis.Client); return ok },
		"redis-sentinel://h?master=m": func(c any) bool { _, ok := c.(*redis.Client); return ok },
		// One seed must do for a cluster.
		"redis-cluster://h": func(c any) bool { _, ok := c.(*redis.ClusterClient); return ok },
	} {
		c, err := Connect(raw)
		if err != nil {
			t.Errorf("Connect(%q): %v", raw, err)
			continue
		}
		if !ok(c) {
			t.Errorf("Connect(%q) made a %T", raw, c)
		}
		if err := c.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
}

func TestConnect_errorsNameTheRuleAndNeverThePassword(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for raw, want := range map[string]string{
		"":                                       "must start with",
		"localhost:6379":                         "must start with",
		"http://u:hunter2@h":                     "scheme must be",
		"redis://u:hunter2@":                     "host is missing",
		"redis://u:hunter2@a,b":                  "several hosts",
		"redis://u:hunter2@h:x":                  "port must be",
		"redis://u:hunter2@h:0":                  "port must be",
		"redis://u:hunter2/@h:1":                 "port must be",
		"redis://u:hunter2%zz@h":                 "percent-encoded",
		"redis://u:hunter2@h/zero":               "database must be a number",
		"redis://u:hunter2@h/-1":                 "database must be a number",
		"redis://u:hunter2@h?pool=9":             "does not know",
		"redis://u:hunter2@h?tls=hunter2":        "bad value",
		"redis://u:hunter2@h?tls=%zz":            "percent-encoded",
		"redis://u:hunter2@h#x":                  "/db and ?name=value",
		"redis://u:hunter2@a:b:c":                "host or host:port",
		"redis-sentinel://u:hunter2@h":           "master",
		"redis-cluster://u:hunter2@h/1":          "no database",
		"redis-cluster://u:hunter2@h,?tls=true":  "host is missing",
		"redis-cluster://u:hunter2@h?master=m":   "does not know",
		"redis://hunter2:hunter2@h:6379/0/extra": "database must be a number",
	} {
		_, err := Connect(raw)
		if err == nil {
			t.Errorf("Connect(%q) succeeded", raw)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Connect(%q) = %q, want it to say %q", raw, err, want)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("Connect(%q) leaks the password: %v", raw, err)
		}
	}
}
