// Command worker delivers: it answers the bells that the api rings, sends signed
// requests and records every outcome. Any number of them may run.
package main

import (
	"context"
	"os"

	"github.com/crm-webhooks/crm-webhooks/pkg/env"
	"github.com/crm-webhooks/crm-webhooks/pkg/obs"
	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
	"github.com/crm-webhooks/crm-webhooks/services/worker/app"
)

func main() {
	run.Main("worker", func(ctx context.Context) error {
		config, err := env.LoadWorker(os.Environ())
		if err != nil {
			return err
		}
		log := obs.NewLogger(os.Stderr, config.Log, "worker")
		obs.TakeStandardLog(log)
		tasks.RouteClientLog(log)
		worker, err := app.New(ctx, config, log)
		if err != nil {
			return err
		}
		return worker.Run(ctx)
	})
}
