package graph

import (
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// FuzzDecodeCursor: what is taken for a cursor is one that encodeCursor makes, in
// the one spelling that it has; everything else is refused by the argument's name.
func FuzzDecodeCursor(f *testing.F) {
	id := webhook.DeliveryIDFor(webhook.EventID{}, webhook.WebhookID{})
	for _, seed := range []string{"", "MTo", "!", "MTpkbHZfMDE5M2E1YzAwMDAwNzAwMDgwMDAwMDAwMDAwMDAwMDA=", encodeCursor(id), encodeCursor(id) + "=", encodeCursor(webhook.WebhookID{}), "MjpkbHZf"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		given := text(cursor)
		got, err := decodeCursor("after", &given, webhook.ParseDeliveryID)
		if err != nil {
			if faults := webhook.Faults(err); len(faults) != 1 || faults[0].Error() != "after must be a cursor that this list returned" {
				t.Errorf("%q: %v", cursor, err)
			}
			return
		}
		if again := encodeCursor(*got); again != cursor {
			t.Errorf("%q and %q are the same cursor", cursor, again)
		}
	})
}
