package relay_test

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const window = 3

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// bells remembers what was rung for, and passes it on.
type bells struct {
	rung [][]webhook.Owed
	next func([]webhook.Owed)
}

func (b *bells) Ring(owed []webhook.Owed) {
	if len(owed) == 0 {
		return
	}
	b.rung = append(b.rung, owed)
	if b.next != nil {
		b.next(owed)
	}
}
