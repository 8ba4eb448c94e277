package doctor

import (
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
)

func TestAboutSeals(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		configured []string
		needed     map[string]int
		level      level
		want       string
	}{
		"nothing sealed":      {[]string{"new"}, nil, ok, "key new is all that is needed"},
		"first key only":      {[]string{"new"}, map[string]int{"new": 2}, ok, "key new is all that is needed"},
		"may be dropped":      {[]string{"new", "old", "older"}, map[string]int{"new": 2}, ok, "old, older can be dropped"},
		"still needed":        {[]string{"new", "old"}, map[string]int{"new": 2, "old": 3}, warn, "3 webhooks still need encryption key 2 (old)"},
		"dropped too early":   {[]string{"new"}, map[string]int{"new": 2, "old": 3}, fail, `3 webhooks need encryption key "old"`},
		"nothing of a key":    {[]string{"new"}, map[string]int{"": 1}, fail, `1 webhooks need encryption key ""`},
		"one needed, one not": {[]string{"new", "old"}, map[string]int{"old": 1, "lost": 1}, fail, `key "lost"`},
	} {
		findings := aboutSeals(tc.configured, tc.needed)
		if got := worst(findings); got != tc.level || !strings.Contains(findings[0].what, tc.want) {
			t.Errorf("%s: %+v, want %d and %q", name, findings, tc.level, tc.want)
		}
	}
}

func TestDoctor_looksForTheKeysInUse(t *testing.T) {
	t.Parallel()
	url := postgrestest.New(t)
	if _, err := open(t, url).ExecContext(t.Context(), `INSERT INTO webhooks (id, tenant_id, name, url, events, patterns, secrets_sealed,
		secrets_expire_at, max_attempts, timeout_ms, initial_backoff_ms, api_version, created_by)
		VALUES (gen_random_uuid(), 'acme', 'n', 'https://example.com', '{}', '{*}', '{v1.0badcafe.AAAA}', '{infinity}', 3, 5000, 5000, 'v', 'me')`); err != nil {
		t.Fatal(err)
	}
	report, err := examine(t, complete(url, redistest.New(t))...)
	if err == nil {
		t.Error("no error")
	}
	wantLines(t, report, `FAIL  1 webhooks need encryption key "0badcafe"`)
	settings := complete(url, redistest.New(t))
	for i, line := range settings {
		if strings.HasPrefix(line, "HOOKS_ENCRYPTION_KEYS=") {
			settings[i] = "HOOKS_COLOUR=blue"
		}
	}
	if report, _ := examine(t, settings...); strings.Contains(report, "0badcafe") {
		t.Errorf("without keys to compare with:\n%s", report)
	}
}
