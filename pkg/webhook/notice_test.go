package webhook_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func notice(typ webhook.EventType) webhook.Notice {
	hook, event := webhook.NewWebhookID(instant, [10]byte{1}), webhook.NewEventID(instant, [10]byte{2})
	return webhook.Notice{
		ID: webhook.NewEventID(instant, [10]byte{3}), Type: typ, Tenant: "acme", At: instant, Webhook: hook, WebhookName: `Bill "ing"`,
		Failing: webhook.Failing{Since: instant.Add(-time.Hour), Until: instant, Deliveries: 7},
		Delivery: webhook.Delivery{
			ID: webhook.DeliveryIDFor(event, hook), EventID: event, EventType: webhook.WebhookFailing,
			FailureReason: webhook.BlockedAddress, AttemptCount: 3, LastError: "not public",
		},
	}
}

func TestNotice_Event(t *testing.T) {
	t.Parallel()
	since := instant.Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000Z07:00")
	hook, delivery, event := notice(webhook.WebhookFailing).Webhook.String(), notice(webhook.WebhookFailing).Delivery.ID.String(), notice(webhook.WebhookFailing).Delivery.EventID.String()
	disabled := notice(webhook.WebhookDisabled)
	disabled.Reason = "gone"
	resumed := notice(webhook.WebhookRecovered)
	resumed.Failing = webhook.Failing{}
	for name, tc := range map[string]struct {
		notice webhook.Notice
		want   string
	}{
		"disabled": {disabled, `{"objectType":"webhook","objectId":"` + hook + `","object":{"id":"` + hook + `","name":"Bill \"ing\"","status":"DISABLED","statusReason":"gone","failingSince":"` + since +
			`","failedDeliveries":7},"previous":{"status":"ACTIVE","statusReason":null},"changedFields":["status","statusReason"]}`},
		"failing": {notice(webhook.WebhookFailing), `{"objectType":"webhook","objectId":"` + hook + `","object":{"id":"` + hook + `","name":"Bill \"ing\"","status":"ACTIVE","statusReason":null,"failingSince":"` + since +
			`","failedDeliveries":7},"previous":{"failingSince":null,"failedDeliveries":0},"changedFields":["failedDeliveries","failingSince"]}`},
		"recovered": {notice(webhook.WebhookRecovered), `{"objectType":"webhook","objectId":"` + hook + `","object":{"id":"` + hook + `","name":"Bill \"ing\"","status":"ACTIVE","statusReason":null,"failingSince":null,"failedDeliveries":0},` +
			`"previous":{"failingSince":"` + since + `","failedDeliveries":7},"changedFields":["failedDeliveries","failingSince"]}`},
		"recovered after a resume": {resumed, `{"objectType":"webhook","objectId":"` + hook + `","object":{"id":"` + hook + `","name":"Bill \"ing\"","status":"ACTIVE","statusReason":null,"failingSince":null,"failedDeliveries":0},` +
			`"previous":{},"changedFields":[]}`},
		"exhausted": {notice(webhook.DeliveryExhausted), `{"objectType":"delivery","objectId":"` + delivery + `","object":{"id":"` + delivery + `","webhookId":"` + hook + `","webhookName":"Bill \"ing\"","eventId":"` + event +
			`","eventType":"webhook.failing","status":"FAILED","failureReason":"BLOCKED_ADDRESS","attemptCount":3,"responseStatus":null,"lastError":"not public"},"previous":{},"changedFields":[]}`},
	} {
		got, err := tc.notice.Event()
		if err != nil {
			t.Fatal(err)
		}
		_, data, _ := strings.Cut(got.Body, `"data":`)
		if diff := cmp.Diff(tc.want, strings.TrimSuffix(data, "}")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.ID != tc.notice.ID || got.Type != tc.notice.Type || got.Tenant != "acme" || !strings.HasPrefix(got.Body, `{"id":"`+got.ID.String()+`","type":"`+got.Type.String()+`"`) {
			t.Errorf("%s: event %+v", name, got)
		}
	}
}

func TestEventDraft_thePlatformsTypesAreRefused(t *testing.T) {
	t.Parallel()
	for _, entry := range webhook.Catalogue() {
		custom := entry.Type.String()
		for name, draft := range map[string]webhook.EventDraft{
			"event": {Event: &entry.Type, ObjectID: "1", Object: []byte(`{}`)}, "customEvent": {CustomEvent: &custom, ObjectID: "1", Object: []byte(`{}`)},
		} {
			_, err := draft.Parse("acme")
			refused := err != nil && strings.HasPrefix(err.Error(), name+" must not")
			if want := entry.ByPlatform() || name == "customEvent"; refused != want {
				t.Errorf("%s as %s: %v, want refused: %t", entry.Type, name, err, want)
			}
		}
	}
}
