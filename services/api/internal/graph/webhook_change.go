package graph

import (
	"context"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

// defaultGrace is how long a former secret signs when nothing is said.
const defaultGrace = 24 * time.Hour

// WebhookWriter changes the webhooks of a tenant. What does not exist, or
// belongs to another tenant, is webhook.ErrNotFound.
type WebhookWriter interface {
	// Create makes a webhook. An empty secret means that one is generated.
	Create(ctx context.Context, tenant webhook.TenantID, by string, in webhook.Settings, secret string) (webhook.Webhook, webhook.Secret, error)
	Update(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, change webhook.Change) (webhook.Webhook, error)
	Delete(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID) error
	// Rotate also returns until when the former secret signs.
	Rotate(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, grace time.Duration) (webhook.Webhook, webhook.Secret, time.Time, error)
}

// WebhookTester sends test events.
type WebhookTester interface {
	// Test waits for the outcome. A receiver that fails is a result, not an error.
	Test(ctx context.Context, tenant webhook.TenantID, id webhook.WebhookID, event *webhook.CatalogueEntry) (manage.TestResult, error)
}

// policyInput is the part of the inputs that speaks of attempts.
type policyInput struct {
	MaxAttempts      *integer
	TimeoutMs        *integer
	InitialBackoffMs *integer
}

func (p policyInput) draft() webhook.PolicyDraft {
	return webhook.PolicyDraft{
		MaxAttempts:      (*int32)(p.MaxAttempts),
		TimeoutMs:        (*int32)(p.TimeoutMs),
		InitialBackoffMs: (*int32)(p.InitialBackoffMs),
	}
}

// headerInput is the input WebhookHeaderInput.
type headerInput struct{ Name, Value text }

// createWebhookInput is the input CreateWebhookInput.
type createWebhookInput struct {
	Name          text
	Description   *text
	URL           text
	Events        *[]string
	EventPatterns *[]text
	Headers       *[]headerInput
	Secret        *text
	policyInput
}

// parse also returns the secret that the caller brought, empty when none.
func (in createWebhookInput) parse(rules webhook.URLRules) (webhook.Settings, string, error) {
	draft := webhook.Draft{
		Name:        string(in.Name),
		URL:         string(in.URL),
		Patterns:    stringsOf(listOf(in.EventPatterns)),
		Headers:     headersOf(listOf(in.Headers)),
		PolicyDraft: in.draft(),
	}
	if in.Description != nil {
		draft.Description = string(*in.Description)
	}
	var faults webhook.Errors
	events, err := eventTypesOf(listOf(in.Events))
	faults = append(faults, webhook.Faults(err)...)
	draft.Events = events
	settings, err := draft.Parse(rules)
	faults = append(faults, webhook.Faults(err)...)
	var secret string
	if in.Secret != nil {
		secret = string(*in.Secret)
		_, err := webhook.ParseSecret(secret)
		faults = append(faults, webhook.Faults(err)...)
	}
	if len(faults) > 0 {
		return webhook.Settings{}, "", faults
	}
	return settings, secret, nil
}

// createPayload is the type CreateWebhookPayload.
type createPayload struct {
	secret webhook.Secret

	Webhook    *webhookConfig
	UserErrors []userError
}

// Secret answers the new secret, null when there is none.
func (p createPayload) Secret() *string { return showSecret(p.Webhook, p.secret) }

// CreateWebhook makes a webhook and shows its secret.
func (m *mutation) CreateWebhook(ctx context.Context, args struct{ Input createWebhookInput }) (createPayload, error) {
	principal, err := enter(ctx, opCreateWebhook)
	if err != nil {
		return createPayload{}, err
	}
	settings, given, err := args.Input.parse(m.URLRules)
	if err != nil {
		faults, err := m.mend(ctx, err, "input")
		return createPayload{UserErrors: faults}, err
	}
	w, secret, err := m.Management.Create(ctx, principal.Tenant, principal.Subject, settings, given)
	if err != nil {
		faults, err := m.mend(ctx, err, "input")
		return createPayload{UserErrors: faults}, err
	}
	return createPayload{secret: secret, Webhook: m.showWebhook(ctx, w)}, nil
}

// updateWebhookInput is the input UpdateWebhookInput.
type updateWebhookInput struct {
	Name          *text
	Description   *text
	URL           *text
	Events        *[]string
	EventPatterns *[]text
	Headers       *[]headerInput
	Status        *string
	policyInput
}

func (in updateWebhookInput) change(by string) (webhook.Change, error) {
	change := webhook.Change{
		Name:        (*string)(in.Name),
		Description: (*string)(in.Description),
		URL:         (*string)(in.URL),
		PolicyDraft: in.draft(),
		By:          by,
	}
	if in.Events != nil {
		events, err := eventTypesOf(*in.Events)
		if err != nil {
			return change, err
		}
		change.Events = &events
	}
	if in.EventPatterns != nil {
		patterns := stringsOf(*in.EventPatterns)
		change.Patterns = &patterns
	}
	if in.Headers != nil {
		headers := headersOf(*in.Headers)
		change.Headers = &headers
	}
	if in.Status != nil {
		status := webhook.Status(strings.ToLower(*in.Status))
		change.Status = &status
	}
	return change, nil
}

// updatePayload is the type UpdateWebhookPayload.
type updatePayload struct {
	Webhook    *webhookConfig
	UserErrors []userError
}

// UpdateWebhook changes what the input names.
func (m *mutation) UpdateWebhook(ctx context.Context, args struct {
	ID    identifier
	Input updateWebhookInput
}) (updatePayload, error) {
	principal, err := enter(ctx, opUpdateWebhook)
	if err != nil {
		return updatePayload{}, err
	}
	id, err := webhookIDOf(args.ID)
	if err != nil {
		faults, err := m.mend(ctx, err)
		return updatePayload{UserErrors: faults}, err
	}
	var w webhook.Webhook
	change, err := args.Input.change(principal.Subject)
	if err == nil {
		w, err = m.Management.Update(ctx, principal.Tenant, id, change)
	}
	if err != nil {
		faults, err := m.mend(ctx, err, "input")
		return updatePayload{UserErrors: faults}, err
	}
	return updatePayload{Webhook: m.showWebhook(ctx, w)}, nil
}

// deletePayload is the type DeleteWebhookPayload.
type deletePayload struct {
	DeletedID  *identifier
	UserErrors []userError
}

// DeleteWebhook deletes a webhook.
func (m *mutation) DeleteWebhook(ctx context.Context, args struct{ ID identifier }) (deletePayload, error) {
	principal, err := enter(ctx, opDeleteWebhook)
	if err != nil {
		return deletePayload{}, err
	}
	id, err := webhookIDOf(args.ID)
	if err == nil {
		err = m.Management.Delete(ctx, principal.Tenant, id)
	}
	if err != nil {
		faults, err := m.mend(ctx, err)
		return deletePayload{UserErrors: faults}, err
	}
	return deletePayload{DeletedID: &args.ID}, nil
}

// rotatePayload is the type RotateWebhookSecretPayload.
type rotatePayload struct {
	secret webhook.Secret

	Webhook                 *webhookConfig
	PreviousSecretExpiresAt *timestamp
	UserErrors              []userError
}

// Secret answers the new secret, null when there is none.
func (p rotatePayload) Secret() *string { return showSecret(p.Webhook, p.secret) }

// RotateWebhookSecret gives a webhook a new secret and shows it.
func (m *mutation) RotateWebhookSecret(ctx context.Context, args struct {
	ID           identifier
	GraceSeconds *integer
}) (rotatePayload, error) {
	principal, err := enter(ctx, opRotateSecret)
	if err != nil {
		return rotatePayload{}, err
	}
	grace := defaultGrace
	if args.GraceSeconds != nil {
		grace = time.Duration(*args.GraceSeconds) * time.Second
	}
	id, err := webhookIDOf(args.ID)
	if err != nil {
		faults, err := m.mend(ctx, err)
		return rotatePayload{UserErrors: faults}, err
	}
	w, secret, expires, err := m.Management.Rotate(ctx, principal.Tenant, id, grace)
	if err != nil {
		faults, err := m.mend(ctx, err)
		return rotatePayload{UserErrors: faults}, err
	}
	return rotatePayload{secret: secret, Webhook: m.showWebhook(ctx, w), PreviousSecretExpiresAt: timestampOf(expires)}, nil
}

// showSecret reveals a webhook's new secret to the one answer that may (I7); null
// when there is no webhook.
func showSecret(w *webhookConfig, secret webhook.Secret) *string {
	if w == nil {
		return nil
	}
	return w.page.budget.textOrNull(secret.Reveal())
}

// webhookIDOf treats a malformed id as one that does not exist.
func webhookIDOf(id identifier) (webhook.WebhookID, error) {
	known, ok := parsed(id, webhook.ParseWebhookID)
	if !ok {
		return known, webhook.NotFound("webhook")
	}
	return known, nil
}

func stringsOf(texts []text) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = string(t)
	}
	return out
}

func headersOf(inputs []headerInput) []webhook.Header {
	out := make([]webhook.Header, len(inputs))
	for i, in := range inputs {
		out[i] = webhook.Header{Name: string(in.Name), Value: string(in.Value)}
	}
	return out
}
