// Command chaos breaks a running system on purpose and reckons afterwards: what
// was accepted, what arrived, and how long it took to get over it.
//
// Each row is a fresh system of two apis and three workers, as real processes on
// durable servers, under a steady load; the fault strikes in the middle. The
// reckoning goes by ids: what mutations answered, what PostgreSQL holds, and
// what the receiver got must agree. `make chaos` runs it; see --help.
//
// It promises that a row is BROKEN, and that the suite ends with an error, when
//
//   - a delivery is lost, or one that a mutation answered for was never stored;
//   - a request comes again that was not in flight, by its delivery and attempt, when
//     a worker died, froze or was cut off; or one comes that is not recorded;
//   - a refused mutation is half done, or doing it again does it twice: with an
//     idempotency key, asking again is the same mutation, without another one;
//   - a mutation is refused where the fault is no reason to, or not by UNAVAILABLE;
//   - the system is not as before within 20 s of the fault's end, or of its
//     beginning where others can do without the victim;
//   - a process ends by itself, or what is stored contradicts itself;
//   - the row shows nothing: what it breaks was not in use.
package main

import (
	"context"
	"os"

	"github.com/crm-webhooks/crm-webhooks/pkg/run"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

func main() {
	run.Main("chaos", func(ctx context.Context) error {
		if len(os.Args) == 2 && os.Args[1] == stage.ReceiverCommand {
			return stage.Receive(ctx, os.Stdin, os.Stdout)
		}
		return chaos(ctx, os.Args[1:], os.Stdout)
	})
}
