package migrate

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMigrate_statusUpStatus(t *testing.T) {
	t.Parallel()
	environ := []string{"DATABASE_URL=" + postgrestest.NewEmpty(t)}
	step := func(do func(*console.Console) error) string {
		t.Helper()
		var out bytes.Buffer
		if err := do(console.New(nil, &out, io.Discard, environ)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	show := func(c *console.Console) error { return status{}.Run(t.Context(), c) }
	apply := func(c *console.Console) error { return (&up{Wait: time.Minute}).Run(t.Context(), c) }

	if got := step(show); !strings.Contains(got, "pending") || strings.Contains(got, "applied") || !strings.Contains(got, "run hooksctl migrate up") {
		t.Errorf("status before:\n%s", got)
	}
	if got := step(apply); !strings.Contains(got, "applied  0001_webhooks.sql") {
		t.Errorf("up:\n%s", got)
	}
	if got := step(apply); !regexp.MustCompile(`up to date: \d+ migrations, 0 of them applied now`).MatchString(got) {
		t.Errorf("up again:\n%s", got)
	}
	if got := step(show); strings.Contains(got, "pending") || !strings.Contains(got, "applied "+time.Now().UTC().Format("2006-")) {
		t.Errorf("status after:\n%s", got)
	}
}

func TestMigrate_givesUpWaiting(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	c := console.New(nil, io.Discard, &log, []string{"DATABASE_URL=postgres://nobody:hunter2@127.0.0.1:1/none"})
	err := (&up{Wait: 100 * time.Millisecond}).Run(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "gave up after 100ms") || !strings.Contains(log.String(), "waiting for PostgreSQL") {
		t.Errorf("error %v, log %s", err, log.String())
	}
	if strings.Contains(log.String()+err.Error(), "hunter2") {
		t.Error("the password leaks")
	}
}

func TestMigrate_needsDatabaseURL(t *testing.T) {
	t.Parallel()
	err := status{}.Run(t.Context(), console.New(nil, io.Discard, io.Discard, nil))
	if err == nil || !strings.Contains(err.Error(), "DATABASE_URL must be set") {
		t.Errorf("error = %v", err)
	}
}
