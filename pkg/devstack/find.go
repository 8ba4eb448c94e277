package devstack

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// version is a server's version, e.g. 15.18 or 7.0.
type version struct{ major, minor int }

func (v version) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v version) compare(o version) int {
	return cmp.Or(cmp.Compare(v.major, o.major), cmp.Compare(v.minor, o.minor))
}

// The oldest servers that will do.
func minPostgres() version { return version{14, 0} }
func minRedis() version    { return version{6, 2} }

// FindPostgres says in one line why there is no PostgreSQL to start, if so.
func FindPostgres() error {
	_, err := newestServer("PostgreSQL", minPostgres(), postgresPrograms())
	return err
}

// FindRedis says in one line why there is no Redis to start, if so.
func FindRedis() error {
	_, err := newestServer("Redis", minRedis(), redisPrograms())
	return err
}

// candidate is a server program found on this machine.
type candidate struct {
	path    string
	version version
}

// newestServer picks the first program in PATH order that is new enough, else
// the newest of the others.
func newestServer(name string, least version, paths []string) (candidate, error) {
	var tooOld []string
	for _, path := range paths {
		v, err := programVersion(path)
		if err != nil {
			continue
		}
		if v.compare(least) >= 0 {
			return candidate{path, v}, nil
		}
		tooOld = append(tooOld, fmt.Sprintf("%s is %s", path, v))
	}
	if len(tooOld) > 0 {
		return candidate{}, fmt.Errorf("%s %s or newer is needed, but %s", name, least, strings.Join(tooOld, ", "))
	}
	return candidate{}, fmt.Errorf("%s %s or newer is needed and not installed: run sh deploy/dev/install-servers.sh", name, least)
}

// postgresPrograms lists every `postgres` that has its `initdb` beside it.
func postgresPrograms() []string {
	patterns := []string{
		"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
		"/usr/libexec/postgresql*",  // Alpine
		"/usr/pgsql-*/bin",          // PGDG on Fedora and RHEL
		"/opt/homebrew/opt/postgresql*/bin",
		"/usr/local/opt/postgresql*/bin",
	}
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return cmp.Compare(trailingNumber(b), trailingNumber(a)) })
		dirs = append(dirs, found...)
	}
	var programs []string
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			programs = append(programs, filepath.Join(dir, "postgres"))
		}
	}
	return programs
}

// redisPrograms lists Redis and its drop-in successor.
func redisPrograms() []string {
	var programs []string
	for _, name := range []string{"redis-server", "valkey-server"} {
		for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/opt/homebrew/bin", "/usr/local/bin", "/usr/bin") {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				programs = append(programs, path)
			}
		}
	}
	return slices.Compact(programs)
}

func trailingNumber(dir string) int {
	digits := regexp.MustCompile(`\d+`).FindAllString(dir, -1)
	if len(digits) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(digits[len(digits)-1])
	return n
}

// programVersion asks a program for its version.
func programVersion(path string) (version, error) {
	out, err := exec.Command(path, "--version").Output() //nolint:noctx // it answers at once
	if err != nil {
		return version{}, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	return parseVersion(string(out))
}

// parseVersion understands "postgres (PostgreSQL) 15.18 (Debian ...)", "18beta1"
// and "Redis server v=7.0.15 sha=...".
func parseVersion(s string) (version, error) {
	m := regexp.MustCompile(`(?:\) |v=)(\d+)(?:\.(\d+))?`).FindStringSubmatch(s)
	if m == nil {
		return version{}, fmt.Errorf("no version in %q", strings.TrimSpace(s))
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return version{}, fmt.Errorf("reading version %q: %w", m[1], err)
	}
	minor, _ := strconv.Atoi(m[2]) // absent in pre-releases
	return version{major, minor}, nil
}
