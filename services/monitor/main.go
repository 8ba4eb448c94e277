// Command monitor shows the task queues to operators: asynq's web UI behind a
// login.
package main

import (
	"context"
	"os"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/services/monitor/app"
)

func main() {
	run.Main("monitor", func(ctx context.Context) error {
		config, err := env.LoadMonitor(os.Environ())
		if err != nil {
			return err
		}
		log := obs.NewLogger(os.Stderr, config.Log, "monitor")
		obs.TakeStandardLog(log)
		tasks.RouteClientLog(log)
		monitor, err := app.New(ctx, config, log)
		if err != nil {
			return err
		}
		return monitor.Run(ctx)
	})
}
