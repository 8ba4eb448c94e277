package webhook_test

import (
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestStats_SuccessRate(t *testing.T) {
	t.Parallel()
	if got := (webhook.Stats{Total: 3, Pending: 2, Retrying: 1}).SuccessRate(); got != nil {
		t.Errorf("rate before the first finish = %v, want none", *got)
	}
	if got := (webhook.Stats{Total: 9, Pending: 5, Succeeded: 3, Failed: 1}).SuccessRate(); got == nil || *got != 0.75 {
		t.Errorf("rate = %v, want 0.75", got)
	}
	if got := (webhook.Stats{Failed: 1}).SuccessRate(); got == nil || *got != 0 {
		t.Errorf("rate = %v, want 0", got)
	}
}
