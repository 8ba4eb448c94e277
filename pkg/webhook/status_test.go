package webhook_test

import (
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestDeliveryStatus_CanBecome(t *testing.T) {
	t.Parallel()
	all := []webhook.DeliveryStatus{webhook.Pending, webhook.Retrying, webhook.Succeeded, webhook.Failed, "processing", ""}
	allowed := map[[2]webhook.DeliveryStatus]bool{
		{webhook.Pending, webhook.Retrying}:   true,
		{webhook.Pending, webhook.Succeeded}:  true,
		{webhook.Pending, webhook.Failed}:     true,
		{webhook.Retrying, webhook.Retrying}:  true,
		{webhook.Retrying, webhook.Succeeded}: true,
		{webhook.Retrying, webhook.Failed}:    true,
		{webhook.Failed, webhook.Pending}:     true, // by an explicit retry
	}
	for _, from := range all {
		for _, to := range all {
			if got, want := from.CanBecome(to), allowed[[2]webhook.DeliveryStatus{from, to}]; got != want {
				t.Errorf("%q can become %q: %t, want %t", from, to, got, want)
			}
		}
	}
}

// What Decide says is always a change that the machine allows.
func TestDecide_followsTheMachine(t *testing.T) {
	t.Parallel()
	for _, from := range []webhook.DeliveryStatus{webhook.Pending, webhook.Retrying} {
		for status := range 600 {
			for number := 1; number <= 3; number++ {
				a := webhook.Attempt{Number: number, ResponseStatus: status, ErrorClass: webhook.ClassStatus}
				if webhook.SuccessStatus(status) {
					a.ErrorClass = webhook.NoError
				}
				next := webhook.Decide(webhook.DefaultPolicy(), a, 3, 0)
				if !from.CanBecome(next.Status) {
					t.Fatalf("status %d, attempt %d: %s may not become %s", status, number, from, next.Status)
				}
				if (next.Reason != "") != (next.Status == webhook.Failed) || (next.Delay != 0) != (next.Status == webhook.Retrying) {
					t.Fatalf("status %d, attempt %d: inconsistent %+v", status, number, next)
				}
			}
		}
	}
}

func TestDeliveryStatus_Finished(t *testing.T) {
	t.Parallel()
	for status, want := range map[webhook.DeliveryStatus]bool{
		webhook.Pending: false, webhook.Retrying: false, webhook.Succeeded: true, webhook.Failed: true,
	} {
		if got := status.Finished(); got != want {
			t.Errorf("%s finished: %t, want %t", status, got, want)
		}
	}
}

func TestStatus_CanBecome(t *testing.T) {
	t.Parallel()
	all := []webhook.Status{webhook.Active, webhook.Paused, webhook.Disabled, "deleted", ""}
	allowed := map[[2]webhook.Status]bool{
		{webhook.Active, webhook.Paused}:   true,
		{webhook.Active, webhook.Disabled}: true,
		{webhook.Paused, webhook.Active}:   true,
		{webhook.Paused, webhook.Disabled}: true,
		{webhook.Disabled, webhook.Active}: true,
		{webhook.Disabled, webhook.Paused}: true,
	}
	for _, from := range all {
		for _, to := range all {
			if got, want := from.CanBecome(to), allowed[[2]webhook.Status{from, to}]; got != want {
				t.Errorf("%q can become %q: %t, want %t", from, to, got, want)
			}
		}
	}
}
