package e2e_test

import (
	"strings"
	"testing"
)

// What is piped is for programs and files: text, whatever a terminal would get.
func TestHooksctl_plainTextWhenPiped(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	api := s.api()
	settings := []string{"HOOKSCTL_URL=http://" + api.addr, "HOOKSCTL_TOKEN=" + s.token(claims(tenant, "ADMIN")), "TERM=xterm"}
	for _, command := range []string{
		"--help", "doctor --help", "version", "doctor", "migrate up", "migrate status", "rekey --dry-run", "rekey", "token --tenant acme",
		"dispatch --event LEAD_CREATED", "dispatch --event LEAD_CREATED --count 100",
	} {
		out, code := s.hooksctl(settings, strings.Fields(command)...)
		if strings.ContainsAny(out, "\x1b\r") || out == "" {
			t.Errorf("hooksctl %s prints %q", command, out)
		}
		if code != 0 && command != "doctor" { // which misses a worker
			t.Errorf("hooksctl %s: exit code %d: %s", command, code, out)
		}
	}
}
