// Command api serves GraphQL: CRM clients manage webhooks and hand in events.
package main

import (
	"context"
	"os"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/services/api/app"
)

func main() {
	run.Main("api", func(ctx context.Context) error {
		config, err := env.LoadAPI(os.Environ())
		if err != nil {
			return err
		}
		api, err := app.New(ctx, config, obs.NewLogger(os.Stderr, config.Log, "api"))
		if err != nil {
			return err
		}
		return api.Run(ctx)
	})
}
