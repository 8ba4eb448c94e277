package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

const (
	tenants = 16
	hooks   = 64
	// bodyBytes is the size of what is signed and sent.
	bodyBytes = 1024
)

func tenantOf(hook int) webhook.TenantID {
	return webhook.TenantID("tenant-" + strconv.Itoa(hook%tenants))
}

// typeOf names the one type that a webhook subscribes to, so that each event
// owes one delivery.
func typeOf(hook int) string { return "bench.hook_" + strconv.Itoa(hook) }

func makeHooks(ctx context.Context, y *stage.System, url string) ([]webhook.WebhookID, error) {
	ids := make([]webhook.WebhookID, hooks)
	for i := range ids {
		var err error
		ids[i], err = y.CreateWebhook(ctx, stage.Hook{Tenant: tenantOf(i), URL: url, Pattern: typeOf(i), Policy: webhook.DefaultPolicy()})
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// event is one whose body has bodyBytes.
func event(hook int) (webhook.NewEvent, error) {
	eventType, err := webhook.ParseEventType(typeOf(hook))
	if err != nil {
		return webhook.NewEvent{}, err
	}
	e := webhook.NewEvent{Tenant: tenantOf(hook), Type: eventType, ObjectType: eventType.ObjectType(), ObjectID: "1", Object: object(0)}
	body, err := e.Body(webhook.EventID{}, time.Now())
	e.Object = object(bodyBytes - len(body))
	return e, err
}

func object(padding int) json.RawMessage {
	return json.RawMessage(`{"name":"Analytical Engines","notes":"` + strings.Repeat("x", max(padding, 0)) + `"}`)
}

// events spreads n events over the webhooks.
func events(n int) ([]webhook.NewEvent, error) {
	var each [hooks]webhook.NewEvent
	for i := range each {
		var err error
		if each[i], err = event(i); err != nil {
			return nil, err
		}
	}
	all := make([]webhook.NewEvent, n)
	for i := range all {
		all[i] = each[i%hooks]
	}
	return all, nil
}

// submission is an event as an api's client says it.
func submission(e webhook.NewEvent) apiclient.Event {
	return apiclient.Event{CustomEvent: e.Type.String(), ObjectID: e.ObjectID, Object: e.Object}
}

// checkOnce makes sure that n deliveries came, each once: a figure for anything
// else would mean nothing.
func checkOnce(arrivals []stage.Arrival, n int) error {
	seen := make(map[string]bool, n)
	for _, a := range arrivals {
		if seen[a.Delivery] {
			return fmt.Errorf("delivery %s came twice", a.Delivery)
		}
		seen[a.Delivery] = true
	}
	if len(seen) != n {
		return fmt.Errorf("%d deliveries came, not %d", len(seen), n)
	}
	return nil
}
