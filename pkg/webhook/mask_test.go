package webhook_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestKeepMasked(t *testing.T) {
	t.Parallel()
	old := []webhook.Header{{Name: "Authorization", Value: "Bearer old"}, {Name: "X-Region", Value: "eu"}}
	mask := webhook.MaskHeader(old[0]).Value
	for name, tc := range map[string]struct{ in, want []webhook.Header }{
		"the mask keeps the value, whatever the case": {
			[]webhook.Header{{Name: "authorization", Value: mask}}, []webhook.Header{{Name: "authorization", Value: "Bearer old"}},
		},
		"a new value replaces it": {
			[]webhook.Header{{Name: "Authorization", Value: "Bearer new"}}, []webhook.Header{{Name: "Authorization", Value: "Bearer new"}},
		},
		"a mask that hid nothing stays": {
			[]webhook.Header{{Name: "X-Api-Key", Value: mask}, {Name: "X-Region", Value: mask}},
			[]webhook.Header{{Name: "X-Api-Key", Value: mask}, {Name: "X-Region", Value: mask}},
		},
		"none": {nil, []webhook.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, webhook.KeepMasked(tc.in, old)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}
