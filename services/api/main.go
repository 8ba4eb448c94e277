// Command api serves GraphQL: CRM clients manage webhooks and hand in events.
package main

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/services/api/app"
)

// memoryLimit is where garbage stops piling up: what answers take for a moment,
// large ones above all, is taken back sooner. GOMEMLIMIT, when set, has the last
// word.
const memoryLimit = 128 << 20

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	run.Main("api", func(ctx context.Context) error {
		config, err := env.LoadAPI(os.Environ())
		if err != nil {
			return err
		}
		log := obs.NewLogger(os.Stderr, config.Log, "api")
		obs.TakeStandardLog(log)
		tasks.RouteClientLog(log)
		api, err := app.New(ctx, config, log)
		if err != nil {
			return err
		}
		return api.Run(ctx)
	})
}
