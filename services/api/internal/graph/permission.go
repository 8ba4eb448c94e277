package graph

import (
	"context"

	"github.com/crm-webhooks/crm-webhooks/services/api/internal/auth"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/protocol"
)

// operation names what a caller may or may not do: a root field, or a field
// below one that reads more than its parent already has.
type operation string

const (
	opViewer            operation = "viewer"
	opWebhook           operation = "webhook"
	opWebhooks          operation = "webhooks"
	opWebhookDelivery   operation = "webhookDelivery"
	opWebhookDeliveries operation = "webhookDeliveries"
	opWebhookEvents     operation = "webhookEvents"
	opWebhookStats      operation = "webhookStats"

	opCreateWebhook operation = "createWebhook"
	opUpdateWebhook operation = "updateWebhook"
	opDeleteWebhook operation = "deleteWebhook"
	opTestWebhook   operation = "testWebhook"
	opRotateSecret  operation = "rotateWebhookSecret" //nolint:gosec // the name of a field, not a secret
	opDispatchEvent operation = "dispatchEvent"
	opDispatchMany  operation = "dispatchEvents"
	opRetryDelivery operation = "retryWebhookDelivery"

	opNestedDeliveries operation = "WebhookConfig.deliveries"
	opNestedStats      operation = "WebhookConfig.stats"
	opDeliveryWebhook  operation = "WebhookDelivery.webhook"
	opDeliveryPayload  operation = "WebhookDelivery.payload"
	opDeliveryAttempts operation = "WebhookDelivery.attempts"

	opIntrospection operation = "introspection"
)

// anyone is who has a token, whatever it permits.
const anyone auth.Permission = ""

// required is the only place that says what an operation needs.
func required(op operation) (auth.Permission, bool) {
	switch op {
	case opViewer, opWebhookEvents:
		return anyone, true
	case opWebhook, opWebhooks, opWebhookDelivery, opWebhookDeliveries, opWebhookStats,
		opNestedDeliveries, opNestedStats, opDeliveryWebhook, opDeliveryPayload, opDeliveryAttempts,
		opIntrospection:
		return auth.Read, true
	case opCreateWebhook:
		return auth.Create, true
	case opUpdateWebhook, opRotateSecret, opRetryDelivery:
		return auth.Update, true
	case opDeleteWebhook:
		return auth.Delete, true
	case opTestWebhook:
		return auth.Test, true
	case opDispatchEvent, opDispatchMany:
		return auth.Dispatch, true
	default:
		return "", false
	}
}

// enter is the only way for a resolver to learn who asks and for which tenant,
// so that none can forget to check the permission.
func enter(ctx context.Context, op operation) (auth.Principal, error) {
	principal, ok := auth.FromContext(ctx)
	if !ok {
		return auth.Principal{}, &apiError{code: protocol.CodeUnauthenticated, message: "a bearer token is required"}
	}
	permission, known := required(op)
	if !known || permission != anyone && !principal.May(permission) {
		return auth.Principal{}, &apiError{code: protocol.CodeForbidden, message: string(op) + " needs the permission " + string(permission)}
	}
	return principal, nil
}

func mayIntrospect(ctx context.Context) bool {
	_, err := enter(ctx, opIntrospection)
	return err == nil
}
