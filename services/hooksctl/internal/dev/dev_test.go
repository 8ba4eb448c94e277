package dev

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/devstack/redistest"
	"github.com/crm-webhooks/crm-webhooks/pkg/postgres/postgrestest"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testTimeout = 2 * time.Minute

// freePorts are settings under which several runs can go on at once.
func freePorts() []string {
	return []string{"HOOKS_API_ADDR=127.0.0.1:0", "HOOKS_MONITOR_ADDR=127.0.0.1:0", "HOOKS_METRICS_ADDR=127.0.0.1:0"}
}

func runOnce(t *testing.T, dir string, environ ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var out bytes.Buffer
	cmd := Command{Once: true, Dir: dir, ReceiverAddr: "127.0.0.1:0"}
	if err := cmd.Run(ctx, console.New(nil, &out, io.Discard, append(freePorts(), environ...))); err != nil {
		t.Fatalf("Run = %v\n%s\n%s", err, out.String(), logsOf(dir))
	}
	if !regexp.MustCompile(`\ndelivered and verified  attempt 1, HTTP 204, \d+ ms, delivery dlv_[0-9a-f]{32}\n`).MatchString(out.String()) {
		t.Errorf("output:\n%s", out.String())
	}
	return out.String()
}

func logsOf(dir string) string {
	var all strings.Builder
	files, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		all.WriteString(file + ":\n" + string(text))
	}
	return all.String()
}

// The main job, with servers of its own.
func TestCommand_once(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out := runOnce(t, dir)
	if !strings.Contains(out, "private PostgreSQL") || !strings.Contains(out, "stopped; data stay in") {
		t.Errorf("output:\n%s", out)
	}
	if strings.Contains(logsOf(dir), `"level":"ERROR"`) {
		t.Errorf("errors were logged:\n%s", logsOf(dir))
	}
}

// A second start finds tenant, webhook and secrets of the first.
func TestCommand_restart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	servers := []string{"DATABASE_URL=" + postgrestest.NewEmpty(t), "REDIS_URL=" + redistest.New(t)}
	webhook := regexp.MustCompile(`webhook whk_\w+ of tenant demo-\w+ `)
	first := webhook.FindString(runOnce(t, dir, servers...))
	second := runOnce(t, dir, servers...)
	if first == "" || webhook.FindString(second) != first {
		t.Errorf("first %q, then:\n%s", first, second)
	}
	if !strings.Contains(second, "0 of 2 migrations applied now") {
		t.Errorf("second start:\n%s", second)
	}
	if info, err := os.Stat(filepath.Join(dir, "secrets.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("secrets: %v, %v", info.Mode(), err)
	}
}

func TestCommand_invitesAndStopsCleanly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		cmd := Command{Dir: dir, ReceiverAddr: "127.0.0.1:0"}
		ended <- cmd.Run(ctx, console.New(nil, writer, io.Discard,
			append(freePorts(), "DATABASE_URL="+postgrestest.NewEmpty(t), "REDIS_URL="+redistest.New(t), "HOOKS_MONITOR_USER=it's me")))
		_ = writer.Close()
	}()
	var out bytes.Buffer
	for buf := make([]byte, 4096); !strings.Contains(out.String(), "curl -s"); {
		n, err := reader.Read(buf)
		if err != nil {
			t.Fatalf("ended early: %v\n%s", <-ended, out.String())
		}
		out.Write(buf[:n])
	}
	for _, want := range []string{"GraphiQL", "login it's me / ", "/metrics", "receiver", filepath.Join(dir, "*.log"), "Authorization: Bearer ey"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	settings, err := os.ReadFile(filepath.Join(dir, envFile))
	if err != nil || !strings.Contains(string(settings), `export HOOKS_MONITOR_USER='it'\''s me'`) || !strings.Contains(string(settings), "export HOOKSCTL_TOKEN='ey") {
		t.Errorf("settings for another terminal: %v\n%s", err, settings)
	}
	cancel(context.Canceled)
	go func() { _, _ = io.Copy(io.Discard, reader) }()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v\n%s", err, logsOf(dir))
	}
	if _, err := os.Stat(filepath.Join(dir, envFile)); err == nil {
		t.Error("the settings of a system that is gone are still there")
	}
}

func TestCommand_stoppedEarly(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for once, want := range map[bool]error{false: nil, true: errNotDelivered} {
		cmd := Command{Once: once, Dir: t.TempDir(), ReceiverAddr: "127.0.0.1:0"}
		if err := cmd.Run(ctx, console.New(nil, io.Discard, io.Discard, freePorts())); !errors.Is(err, want) {
			t.Errorf("once %v: Run = %v, want %v", once, err, want)
		}
	}
}

func TestCommand_replacesABusyPort(t *testing.T) {
	t.Parallel()
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	var out bytes.Buffer
	cmd := Command{Once: true, Dir: t.TempDir(), ReceiverAddr: busy.Addr().String()}
	err = cmd.Run(t.Context(), console.New(nil, &out, io.Discard,
		append(freePorts(), "DATABASE_URL="+postgrestest.NewEmpty(t), "REDIS_URL="+redistest.New(t))))
	if err != nil || !strings.Contains(out.String(), busy.Addr().String()+" is in use: the receiver gets a free port") {
		t.Errorf("Run = %v\n%s", err, out.String())
	}
}

func TestCommand_keepsAPortThatWasAskedFor(t *testing.T) {
	t.Parallel()
	busy, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	cmd := Command{Once: true, Dir: t.TempDir(), ReceiverAddr: "127.0.0.1:0"}
	err = cmd.Run(t.Context(), console.New(nil, io.Discard, io.Discard, append(freePorts(),
		"HOOKS_MONITOR_ADDR="+busy.Addr().String(), "DATABASE_URL="+postgrestest.NewEmpty(t), "REDIS_URL="+redistest.New(t))))
	if err == nil || !strings.Contains(err.Error(), "starting monitor") || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("Run = %v", err)
	}
}

func TestKept_usersSettingsWin(t *testing.T) {
	t.Parallel()
	k, err := keep(filepath.Join(t.TempDir(), "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	lines := k.environ([]string{"HOOKS_LOG_LEVEL=debug", "HOOKS_JWT_SECRET=", "HOOKSCTL_URL=x", "PATH=/bin"}, &servers{databaseURL: "d", redisURL: "r"})
	all := console.New(nil, nil, nil, lines)
	if all.Getenv("HOOKS_LOG_LEVEL") != "debug" || all.Getenv("HOOKS_JWT_SECRET") != k.JWTSecret || all.Getenv("HOOKSCTL_URL") != "" ||
		all.Getenv("PATH") != "" || all.Getenv("DATABASE_URL") != "d" {
		t.Errorf("settings %q", lines)
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"[::]:8080": "http://127.0.0.1:8080", "0.0.0.0:1": "http://127.0.0.1:1", "127.0.0.2:3": "http://127.0.0.2:3", "[::1]:3": "http://[::1]:3",
	} {
		if got := baseURL(addr); got != want {
			t.Errorf("baseURL(%s) = %s, want %s", addr, got, want)
		}
	}
}
