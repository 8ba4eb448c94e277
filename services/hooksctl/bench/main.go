// Command bench measures the system against what it is built on: a raw loop of
// signing and POSTing, and a bare asynq server that does the same from a queue.
//
// Everything is measured on one machine in one run, against real processes and
// durable servers, and only the ratios mean much: two runs on one machine may
// differ by a third. `make bench` runs it; see --help.
package main

import (
	"context"
	"os"

	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

func main() {
	run.Main("bench", func(ctx context.Context) error {
		if len(os.Args) == 2 {
			switch os.Args[1] {
			case stage.ReceiverCommand:
				return stage.Receive(ctx, os.Stdin, os.Stdout)
			case rawPart:
				return playRaw(ctx)
			case asynqPart:
				return playAsynq(ctx)
			}
		}
		return bench(ctx, os.Args[1:], os.Stdout)
	})
}
