package cli_test

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/cli"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

var update = flag.Bool("update", false, "write the golden files anew") //nolint:gochecknoglobals // a flag of the test binary

func runCLI(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := cli.Run(t.Context(), args, console.New(nil, &out, io.Discard, nil))
	return out.String(), err
}

func TestRun_help(t *testing.T) {
	t.Setenv("COLUMNS", "100")
	for name, args := range map[string][]string{
		"hooksctl": nil, "dev": {"dev"}, "dispatch": {"dispatch"}, "listen": {"listen"}, "token": {"token"},
		"migrate": {"migrate"}, "migrate-up": {"migrate", "up"}, "migrate-status": {"migrate", "status"}, "doctor": {"doctor"},
		"rekey": {"rekey"}, "probe": {"probe"}, "version": {"version"},
	} {
		got, err := runCLI(t, append(args, "--help")...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		golden := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("help of %s changed (if meant: go test ./internal/cli -update):\n%s", name, diff)
		}
		if !strings.Contains(got, "Example") {
			t.Errorf("help of %s has no example", name)
		}
	}
}

func TestRun_noArgumentsIsHelp(t *testing.T) {
	t.Parallel()
	got, err := runCLI(t)
	if err != nil || !strings.Contains(got, "Usage: hooksctl <command>") {
		t.Errorf("output %q, error %v", got, err)
	}
}

func TestRun_version(t *testing.T) {
	t.Parallel()
	got, err := runCLI(t, "version")
	if err != nil || !strings.HasPrefix(got, "hooksctl dev go1.") {
		t.Errorf("output %q, error %v", got, err)
	}
}

func TestRun_usageErrorsSayWhereHelpIs(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, want string }{
		{"dispatc", `unexpected argument dispatc, did you mean "dispatch"? (see hooksctl --help)`},
		{"dispatch --evnt X", `unknown flag --evnt, did you mean "--event"? (see hooksctl dispatch --help)`},
		{"dispatch --event A --type b --token t", "--event and --type can't be used together (see hooksctl dispatch --help)"},
		{"dispatch --event A --token t --count 0", "dispatch: --count must be at least 1 (see hooksctl dispatch --help)"},
		{"listen --status 99", "listen: --status must be from 200 to 599 (see hooksctl listen --help)"},
		{"token", "missing flags: --tenant=STRING (see hooksctl token --help)"},
	} {
		out, err := runCLI(t, strings.Fields(tc.args)...)
		if err == nil || err.Error() != tc.want || out != "" {
			t.Errorf("%s: error %v, want %s; output %q", tc.args, err, tc.want, out)
		}
	}
}
