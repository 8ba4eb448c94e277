package main

import (
	"bytes"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRun_passesTheExitCodeOn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		args []string
		want int
	}{
		"success":   {[]string{"--", "true"}, 0},
		"failure":   {[]string{"--", "sh", "-c", "exit 7"}, 7},
		"signal":    {[]string{"--", "sh", "-c", "kill -TERM $$"}, 128 + int(syscall.SIGTERM)},
		"not found": {[]string{"--", "/nowhere/program"}, 127},
		"no args":   {nil, 2},
		"both":      {[]string{"-keep", "/nowhere", "--", "true"}, 2},
		"servers":   {[]string{"--", "sh", "-c", `test -n "$TEST_DATABASE_URL" && test -n "$TEST_REDIS_URL"`}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			if got := run(tc.args, &stdout, &stderr); got != tc.want {
				t.Errorf("exit code %d, want %d; it said:\n%s", got, tc.want, &stderr)
			}
		})
	}
}

func TestRun_aCommandThatIsNotThereIsOneLine(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	run([]string{"--", "/nowhere/program"}, &stdout, &stderr)
	last := strings.TrimSpace(stderr.String())
	if !strings.Contains(last[strings.LastIndex(last, "\n")+1:], "/nowhere/program") {
		t.Errorf("it said:\n%s", last)
	}
}
