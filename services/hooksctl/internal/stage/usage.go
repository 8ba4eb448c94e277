package stage

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of times in /proc: USER_HZ, 100 on every Linux platform
// that Go runs on.
const clockTick = 10 * time.Millisecond

// CPUTime is what a process and all its children, living and dead, have used.
func CPUTime(pid int) time.Duration {
	own, ok := readStat(strconv.Itoa(pid))
	if !ok {
		return 0
	}
	sum := own.used + own.usedByDead
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		if child, ok := readStat(filepath.Base(filepath.Dir(path))); ok && child.parent == pid {
			sum += child.used + child.usedByDead
		}
	}
	return sum
}

type stat struct {
	parent           int
	used, usedByDead time.Duration
}

// readStat reads /proc/<pid>/stat; the fields are counted from behind the
// command's name, which may hold anything.
func readStat(pid string) (stat, bool) {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return stat{}, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const parent, user, system, deadUser, deadSystem = 1, 11, 12, 13, 14
	if len(fields) <= deadSystem {
		return stat{}, false
	}
	number := func(i int) int { n, _ := strconv.Atoi(string(fields[i])); return n }
	return stat{
		parent:     number(parent),
		used:       time.Duration(number(user)+number(system)) * clockTick,
		usedByDead: time.Duration(number(deadUser)+number(deadSystem)) * clockTick,
	}, true
}

// Memory is what a process holds in RAM.
type Memory struct {
	Resident int64 `json:"resident"` // bytes now
	Peak     int64 `json:"peak"`     // bytes at most
}

// MemoryOf reads VmRSS and VmHWM.
func MemoryOf(pid int) Memory {
	file, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return Memory{}
	}
	defer file.Close()
	var m Memory
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
		switch name {
		case "VmRSS":
			m.Resident = kib << 10
		case "VmHWM":
			m.Peak = kib << 10
		}
	}
	return m
}
