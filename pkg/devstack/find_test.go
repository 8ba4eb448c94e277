package devstack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]version{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": {15, 18},
		"postgres (PostgreSQL) 18beta1":                        {18, 0},
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc": {7, 0},
		"Valkey server v=8.1.1 sha=00000000:0":                 {8, 1},
	} {
		got, err := parseVersion(text)
		if err != nil || got != want {
			t.Errorf("parseVersion(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	if v, err := parseVersion("command not found"); err == nil {
		t.Errorf("parseVersion of nonsense = %v, want an error", v)
	}
}

func TestNewestServer_saysWhatIsMissing(t *testing.T) {
	t.Parallel()
	old := filepath.Join(t.TempDir(), "postgres")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho 'postgres (PostgreSQL) 13.2'\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for want, paths := range map[string][]string{
		"not installed":      nil,
		"postgres is 13.2":   {old},
		"14.0 or newer":      {old, "/nowhere/postgres"},
		"install-servers.sh": {"/nowhere/postgres"},
	} {
		_, err := newestServer("PostgreSQL", minPostgres(), paths)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v does not say %q in one line", err, want)
		}
	}
}
