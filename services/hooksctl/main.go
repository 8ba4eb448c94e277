// Command hooksctl is for the people who develop and operate the webhook
// system: it runs all of it on one machine, migrates the database, makes tokens,
// sends and receives events, and says what is wrong with an installation.
package main

import (
	"context"
	"os"

	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/cli"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

func main() {
	run.Main("hooksctl", func(ctx context.Context) error {
		return cli.Run(ctx, os.Args[1:], console.Standard())
	})
}
