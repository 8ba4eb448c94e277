package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	skewedWorker = "worker-skewed"
	// skewVariable is read by the changed clock, and by nothing of ours.
	skewVariable = "SKEWED_CLOCK_SECONDS"
)

// honestClock is how time.Now begins, and skewedClock is the same on a machine
// whose wall clock is wrong. The monotonic clock, by which timers go, stays right.
const (
	honestClock = "	sec, nsec, mono := runtimeNow()\n"
	skewedClock = honestClock + "	sec += clockSkew\n"
	readSkew    = `
var clockSkew = func() (seconds int64) {
	text, _ := syscall.Getenv("` + skewVariable + `")
	negative := len(text) > 0 && text[0] == '-'
	for _, digit := range text {
		if '0' <= digit && digit <= '9' {
			seconds = 10*seconds + int64(digit-'0')
		}
	}
	if negative {
		return -seconds
	}
	return seconds
}()
`
)

// BuildSkewed compiles a worker from the same tree whose clock can be wrong: only
// the standard library's time.Now is another, so that all of the process sees
// what it would see on a machine with a wrong clock. It takes a minute at first.
func (s *Stage) BuildSkewed(ctx context.Context) error {
	s.log.InfoContext(ctx, "building a worker whose clock can be wrong")
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("asking go for its root: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time", "time.go")
	overlay, err := s.writeOverlay(original)
	if err != nil {
		return fmt.Errorf("changing the clock: %w", err)
	}
	return build(ctx, s.root, []string{"-overlay", overlay, "-o", filepath.Join(s.dir, skewedWorker)}, "worker")
}

// writeOverlay writes the changed file and the list that go build reads, which
// is returned.
func (s *Stage) writeOverlay(original string) (string, error) {
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	text := string(source)
	if strings.Count(text, honestClock) != 1 {
		return "", errors.New("time.Now of this Go does not read the clock as expected")
	}
	text = strings.Replace(text, honestClock, skewedClock, 1) + readSkew
	if !strings.Contains(text, "\t\"syscall\"\n") {
		text = strings.Replace(text, "import (\n", "import (\n\t\"syscall\"\n", 1)
	}
	changed, list := filepath.Join(s.dir, "skewed-time.go"), filepath.Join(s.dir, "skewed.json")
	replacements, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		return "", err
	}
	return list, errors.Join(os.WriteFile(changed, []byte(text), 0o600), os.WriteFile(list, replacements, 0o600))
}

func skewSeconds(skew time.Duration) string { return strconv.Itoa(int(skew.Seconds())) }
