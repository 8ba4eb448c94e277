package e2e_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHooksctl_colourOnATerminal(t *testing.T) {
	t.Parallel()
	const coloured = "\x1b[31;1mFAIL\x1b[0m  settings of the monitor"
	for name, tc := range map[string]struct {
		environ []string
		colour  bool
	}{
		"terminal":          {nil, true},
		"colour not wanted": {[]string{"NO_COLOR=1"}, false},
		"simple terminal":   {[]string{"TERM=dumb"}, false},
	} {
		out := onTerminal(t, tc.environ, "doctor", "--service", "monitor")
		if got := strings.Contains(out, coloured); got != tc.colour || !strings.Contains(out, "settings of the monitor") {
			t.Errorf("%s: colour is %v, want %v: %q", name, got, tc.colour, out)
		}
	}
}

// onTerminal runs hooksctl with a terminal for its standard output, and returns
// what that shows.
func onTerminal(t *testing.T, environ []string, args ...string) string {
	t.Helper()
	ours, its := openTerminal(t)
	cmd := exec.CommandContext(t.Context(), filepath.Join(os.Getenv(binariesVar), "hooksctl"), args...)
	cmd.Env, cmd.Stdout = append([]string{"TERM=xterm"}, environ...), its
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = its.Close() // the child has it
	shown, _ := io.ReadAll(ours)
	_ = cmd.Wait() // doctor finds something
	return string(shown)
}

// openTerminal returns both ends of a pseudo terminal. Reading from ours fails
// when nobody has the other end any more.
func openTerminal(t *testing.T) (ours, its *os.File) {
	t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	ours = open("/dev/ptmx")
	fd := int(ours.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return ours, open(fmt.Sprintf("/dev/pts/%d", number))
}
