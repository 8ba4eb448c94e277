package postgres

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// maxFillRounds bounds how often Fill looks again for deliveries that were
// queued while it looked; what comes later is for the relay.
const maxFillRounds = 3

// Fill admits what is due on the given webhooks while their windows have room,
// and returns what to ring for: for those who send nothing themselves. A webhook
// that is paused gets nothing.
func (s *Work) Fill(ctx context.Context, hooks []webhook.WebhookID) ([]webhook.Owed, error) {
	var owed []webhook.Owed
	for range maxFillRounds {
		if len(hooks) == 0 {
			break
		}
		admission, err := s.Admit(ctx, hooks, webhook.Room{Ring: webhook.NoLimit})
		if err != nil {
			return owed, err
		}
		owed, hooks = append(owed, admission.Rung...), admission.Again
	}
	return owed, nil
}
