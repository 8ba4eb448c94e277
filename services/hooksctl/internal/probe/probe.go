// Package probe is `hooksctl probe`: the health check of images that hold
// nothing but static binaries.
package probe

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// Command is the command line of `hooksctl probe`.
type Command struct {
	URL     string        `arg:"" help:"What to GET."`
	Timeout time.Duration `default:"3s" help:"How long to wait for the answer."`
}

// Help is shown by --help.
func (Command) Help() string {
	return `Succeeds when the answer is 2xx.

Example:

  hooksctl probe http://127.0.0.1:8080/readyz`
}

// Run asks once.
func (cmd *Command) Run(ctx context.Context, c *console.Console) error {
	ctx, cancel := context.WithTimeoutCause(ctx, cmd.Timeout, fmt.Errorf("no answer within %s", cmd.Timeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, cmd.URL, nil)
	if err != nil {
		return fmt.Errorf("making request: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s answers %s", cmd.URL, resp.Status)
	}
	c.Printf("%s answers %s", cmd.URL, resp.Status)
	return nil
}
