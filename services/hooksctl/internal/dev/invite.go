package dev

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
)

// envFile holds, for another terminal, what this run chose.
const envFile = "env"

// invite says where everything is and how to send another event.
func (s *session) invite(sys *system, bearer string) error {
	path := filepath.Join(s.cmd.Dir, envFile)
	if err := os.WriteFile(path, []byte(exports(sys, bearer)), 0o600); err != nil {
		return fmt.Errorf("writing settings for another terminal: %w", err)
	}
	curl, err := curlCommand(sys.apiURL(), bearer)
	if err != nil {
		return err
	}
	m := sys.config.monitor
	rows := [][2]string{
		{"GraphiQL", sys.apiURL() + "/"},
		{"monitor", sys.monitorURL() + "/  login " + m.User + " / " + m.Password.Reveal()},
		{"metrics", sys.apiURL() + "/metrics  " + sys.metricsURL() + "/metrics"},
		{"receiver", sys.receiverURL() + "/  verifies with the reference library of Standard Webhooks"},
		{"logs", s.logs.where()},
		{"terminal", ". " + path + "  and then " + os.Args[0] + " dispatch, doctor, token ... work on this system"},
	}
	s.out.Printf("")
	for _, row := range rows {
		s.out.Printf("%s %s", s.out.Bold(fmt.Sprintf("%-9s", row[0])), row[1])
	}
	s.out.Printf("\nSend another event, it shows up here (Ctrl-C stops everything):\n\n%s\n", curl)
	return nil
}

// withdraw removes the settings of a system that is gone.
func (s *session) withdraw() error {
	err := os.Remove(filepath.Join(s.cmd.Dir, envFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func curlCommand(apiURL, bearer string) (string, error) {
	body, err := json.Marshal(map[string]any{
		"query": apiclient.DispatchEvent,
		"variables": map[string]any{"input": apiclient.Event{
			Event: "LEAD_CREATED", ObjectID: "lead-1", Object: json.RawMessage(`{"id":"lead-1","name":"Ada Lovelace"}`),
		}},
	})
	if err != nil {
		return "", fmt.Errorf("writing the example: %w", err)
	}
	return strings.Join([]string{
		"curl -s " + apiURL + "/graphql",
		"-H 'Content-Type: application/json'",
		"-H 'Authorization: Bearer " + bearer + "'",
		"-d " + quote(string(body)),
	}, " \\\n  "), nil
}

// exports are shell lines with which the other commands find this system.
func exports(sys *system, bearer string) string {
	settings := map[string]string{}
	var names []string
	for _, line := range sys.config.environ {
		name, value, _ := strings.Cut(line, "=")
		if _, repeated := settings[name]; !repeated {
			names = append(names, name)
		}
		settings[name] = value
	}
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, "export %s=%s\n", name, quote(settings[name]))
	}
	fmt.Fprintf(&b, "export HOOKSCTL_URL=%s\nexport HOOKSCTL_TOKEN=%s\n", quote(sys.apiURL()), quote(bearer))
	return b.String()
}

// quote makes one word of the shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
