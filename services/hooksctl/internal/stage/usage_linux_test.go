package stage

import (
	"bytes"
	"os"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
		_ = bytes.Count(make([]byte, 1<<20), []byte{1})
	}
	if used := CPUTime(os.Getpid()); used < clockTick {
		t.Errorf("we have used %s of processor time", used)
	}
	m := MemoryOf(os.Getpid())
	if m.Resident < 1<<20 || m.Peak < m.Resident {
		t.Errorf("memory %+v", m)
	}
	if got := MemoryOf(-1); got != (Memory{}) {
		t.Errorf("memory of no process: %+v", got)
	}
}
