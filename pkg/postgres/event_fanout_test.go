package postgres_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// What is counted is what accepting an event would owe.
func TestEvents_Fanouts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.webhook(t, "acme", "lead.created", "lead.*", "*")
	b.webhook(t, "acme", "lead.*")
	b.webhook(t, "acme", "account.*")
	b.webhook(t, "other", "*")
	var types []webhook.EventType
	for _, name := range []string{"lead.created", "lead.deleted", "invoice.paid", "webhook.disabled"} {
		typ, err := webhook.ParseEventType(name)
		if err != nil {
			t.Fatal(err)
		}
		types = append(types, typ)
	}
	for tenant, want := range map[webhook.TenantID][]int{"acme": {2, 2, 1, 0}, "other": {1, 1, 1, 0}, "nobody": {0, 0, 0, 0}} {
		fanouts, err := b.events.Fanouts(t.Context(), tenant, types)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]int, len(types))
		for i, typ := range types {
			got[i] = fanouts[typ]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tenant, diff)
		}
	}
}
