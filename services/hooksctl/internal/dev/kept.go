package dev

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// kept is what has to stay the same over restarts: whatever data were sealed or
// signed with.
type kept struct {
	// Tenant is new for each folder: in a database that others use too, it keeps
	// the demonstration to itself.
	Tenant          string `json:"tenant"`
	JWTSecret       string `json:"jwtSecret"`
	EncryptionKey   string `json:"encryptionKey"`
	MonitorPassword string `json:"monitorPassword"`
}

const monitorUser = "admin"

// keep reads what was kept, or makes it.
func keep(path string) (kept, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKept(path)
	}
	var k kept
	if err == nil {
		err = json.Unmarshal(text, &k)
	}
	if err != nil {
		return kept{}, fmt.Errorf("reading development secrets: %w", err)
	}
	return k, nil
}

func makeKept(path string) (kept, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	k := kept{
		Tenant:          "demo-" + strings.ToLower(rand.Text()[:6]),
		JWTSecret:       rand.Text() + rand.Text(),
		EncryptionKey:   base64.StdEncoding.EncodeToString(key),
		MonitorPassword: strings.ToLower(rand.Text()[:12]),
	}
	text, err := json.MarshalIndent(k, "", "  ") //nolint:gosec // into a file of its own that only the user can read
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o600)
	}
	if err != nil {
		return kept{}, fmt.Errorf("keeping development secrets: %w", err)
	}
	return k, nil
}

// environ returns the settings of all services: development defaults, then what
// the user's environment says, then the servers.
func (k kept) environ(users []string, s *servers) []string {
	lines := []string{
		"HOOKS_API_ADDR=127.0.0.1:8080",
		"HOOKS_MONITOR_ADDR=127.0.0.1:8081",
		"HOOKS_METRICS_ADDR=127.0.0.1:9091",
		"HOOKS_JWT_SECRET=" + k.JWTSecret,
		"HOOKS_ENCRYPTION_KEYS=" + k.EncryptionKey,
		"HOOKS_MONITOR_USER=" + monitorUser,
		"HOOKS_MONITOR_PASSWORD=" + k.MonitorPassword,
		"HOOKS_MONITOR_READ_ONLY=false",
		"HOOKS_ALLOWED_NETWORKS=127.0.0.0/8",
		"HOOKS_ALLOW_HTTP=true",
	}
	for _, line := range users {
		name, value, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, "HOOKS_") && strings.TrimSpace(value) != "" {
			lines = append(lines, line)
		}
	}
	return append(lines, "DATABASE_URL="+s.databaseURL, "REDIS_URL="+s.redisURL)
}
