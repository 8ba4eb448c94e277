package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"testing"
	"time"
)

const (
	// binariesVar tells the tests where TestMain has put the services.
	binariesVar = "E2E_BINARIES"
	modules     = "github.com/crm-webhooks/crm-webhooks/services/"

	buildTimeout = 5 * time.Minute
	// parallel tests wait for processes most of the time, not for a processor.
	parallel = "8"
)

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := withBinaries(m.Run)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withBinaries(run func() int) (code int, err error) {
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	args := []string{"build", "-buildvcs=false", "-race=" + raceSetting(), "-o", dir + string(os.PathSeparator)}
	for _, service := range []string{"api", "worker", "monitor", "hooksctl"} {
		args = append(args, modules+service)
	}
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building the services: %w\n%s", err, out)
	}
	if err := os.Setenv(binariesVar, dir); err != nil {
		return 1, err
	}
	if !given("test.parallel") {
		if err := flag.Set("test.parallel", parallel); err != nil {
			return 1, err
		}
	}
	return run(), nil
}

// raceSetting lets the race detector look at the services, too, when it looks at
// the tests.
func raceSetting() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, setting := range info.Settings {
			if setting.Key == "-race" {
				return setting.Value
			}
		}
	}
	return "false"
}

func given(name string) (found bool) {
	flag.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
