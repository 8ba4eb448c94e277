package rekey

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/postgres"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/pkg/seal"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	oldKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	newKey = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
)

// stage is a database with webhooks, sealed with the old key.
type stage struct {
	url string
	db  *sqlx.DB
}

func newStage(t *testing.T, webhooks int) *stage {
	t.Helper()
	s := &stage{url: postgrestest.New(t)}
	var err error
	if s.db, err = postgres.Open(postgres.Config{URL: s.url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.db.Close() })
	for range webhooks {
		s.create(t)
	}
	return s
}

// create makes a webhook with a header.
func (s *stage) create(t *testing.T) {
	t.Helper()
	keys, err := seal.ParseKeys(oldKey)
	if err != nil {
		t.Fatal(err)
	}
	draft := webhook.Draft{Name: "n", URL: "https://example.com", Patterns: []string{"*"}, Headers: []webhook.Header{{Name: "X-Token", Value: "t"}}}
	settings, err := draft.Parse(webhook.URLRules{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := webhook.SecretFromKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	var random [10]byte
	copy(random[:], t.Name()[len(t.Name())-9:])
	random[9] = byte(s.count(t))
	w := settings.Webhook(webhook.NewWebhookID(time.Now(), random), "acme", "me", time.Now())
	if err := postgres.NewWebhooks(s.db, keys).Create(t.Context(), w, secret); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) count(t *testing.T) (n int) {
	t.Helper()
	if err := s.db.GetContext(t.Context(), &n, `SELECT count(*) FROM webhooks`); err != nil {
		t.Fatal(err)
	}
	return n
}

// run returns what the command printed, and its error.
func (s *stage) run(ctx context.Context, cmd Command, terminal bool, keys ...string) (string, error) {
	var out bytes.Buffer
	c := console.New(nil, &out, io.Discard, []string{"DATABASE_URL=" + s.url, "HOOKS_ENCRYPTION_KEYS=" + strings.Join(keys, ",")})
	c.Terminal = terminal
	err := cmd.Run(ctx, c)
	return out.String(), err
}

func TestRekey(t *testing.T) {
	t.Parallel()
	s := newStage(t, 3)
	for _, step := range []struct {
		name  string
		cmd   Command
		keys  []string
		want  []string
		fault string
	}{
		{"without the old key", Command{}, []string{newKey},
			[]string{"sealed anew  0 webhooks", "FAIL  webhook whk_", "no such encryption key"}, "3 webhooks have a value that does not open"},
		{"dry run", Command{DryRun: true}, []string{newKey, oldKey}, []string{"to be sealed anew  3 webhooks: 3 secrets, custom headers of 3, with key "}, ""},
		{"dry run again", Command{DryRun: true}, []string{newKey, oldKey}, []string{"to be sealed anew  3 webhooks"}, ""},
		{"for good", Command{}, []string{newKey, oldKey}, []string{"sealed anew  3 webhooks: 3 secrets, custom headers of 3", "no other key is needed"}, ""},
		{"nothing to do", Command{}, []string{newKey}, []string{"sealed anew  0 webhooks: 0 secrets", "no other key is needed"}, ""},
	} {
		out, err := s.run(t.Context(), step.cmd, false, step.keys...)
		if (err == nil) != (step.fault == "") || (err != nil && !strings.Contains(err.Error(), step.fault)) {
			t.Errorf("%s: error = %v, want %q", step.name, err, step.fault)
		}
		for _, want := range step.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", step.name, want, out)
			}
		}
		if strings.ContainsAny(out, "\r\x1b") || strings.Contains(out, newKey) || strings.Contains(out, oldKey) {
			t.Errorf("%s: progress, colour or a key where no terminal is:\n%q", step.name, out)
		}
	}
}

func TestRekey_progressOnATerminal(t *testing.T) {
	t.Parallel()
	s := newStage(t, 2)
	out, err := s.run(t.Context(), Command{}, true, newKey, oldKey)
	if err != nil || !strings.HasPrefix(out, "\r2 of 2 webhooks\r\x1b[K") {
		t.Errorf("printed %q, %v", out, err)
	}
}

func TestRekey_stoppedSaysThatItCanBeRepeated(t *testing.T) {
	t.Parallel()
	s := newStage(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.run(ctx, Command{}, false, newKey, oldKey); err == nil {
		t.Error("no error when stopped")
	}
	if _, err := s.run(t.Context(), Command{}, false); err == nil || !strings.Contains(err.Error(), "HOOKS_ENCRYPTION_KEYS must be set") {
		t.Errorf("without keys: %v", err)
	}
}
