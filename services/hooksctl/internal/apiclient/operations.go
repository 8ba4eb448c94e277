package apiclient

import (
	"context"
	"encoding/json"
)

// Event is one event to dispatch. Exactly one of Event and CustomEvent is set.
type Event struct {
	Event          string          `json:"event,omitempty"`
	CustomEvent    string          `json:"customEvent,omitempty"`
	ObjectID       string          `json:"objectId"`
	Object         json.RawMessage `json:"object"`
	Previous       json.RawMessage `json:"previous,omitempty"`
	IdempotencyKey string          `json:"idempotencyKey,omitempty"`
	CorrelationID  string          `json:"correlationId,omitempty"`
}

// Accepted is an event that is committed.
type Accepted struct {
	EventID       string `json:"eventId"`
	DeliveryCount int    `json:"deliveryCount"`
	Duplicate     bool   `json:"duplicate"`
}

// DispatchEvent is the mutation, for whoever wants to show it.
const DispatchEvent = `mutation($input:DispatchEventInput!){dispatchEvent(input:$input){eventId deliveryCount duplicate userErrors{code field message}}}`

// Dispatch has one event accepted.
func (c *Client) Dispatch(ctx context.Context, event Event) (Accepted, error) {
	var data struct {
		DispatchEvent struct {
			Accepted
			UserErrors UserErrors `json:"userErrors"`
		} `json:"dispatchEvent"`
	}
	if err := c.call(ctx, DispatchEvent, map[string]any{"input": event}, &data); err != nil {
		return Accepted{}, err
	}
	return data.DispatchEvent.Accepted, data.DispatchEvent.UserErrors.err()
}

// Webhook is what a webhook is set to.
type Webhook struct {
	Name          string   `json:"name,omitempty"`
	Description   string   `json:"description,omitempty"`
	URL           string   `json:"url,omitempty"`
	EventPatterns []string `json:"eventPatterns,omitempty"`
	Headers       []Header `json:"headers,omitzero"` // empty takes away what there are, nil leaves them
	Status        string   `json:"status,omitempty"`
}

// Header is a custom header of a webhook.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

const createWebhook = `mutation($input:CreateWebhookInput!){createWebhook(input:$input){webhook{id} secret userErrors{code field message}}}`

// CreateWebhook makes a webhook and returns its id and its secret.
func (c *Client) CreateWebhook(ctx context.Context, w Webhook) (id, secret string, err error) {
	var data struct {
		CreateWebhook struct {
			Webhook    struct{ ID string } `json:"webhook"`
			Secret     string              `json:"secret"`
			UserErrors UserErrors          `json:"userErrors"`
		} `json:"createWebhook"`
	}
	if err := c.call(ctx, createWebhook, map[string]any{"input": w}, &data); err != nil {
		return "", "", err
	}
	made := data.CreateWebhook
	return made.Webhook.ID, made.Secret, made.UserErrors.err()
}

const updateWebhook = `mutation($id:ID!,$input:UpdateWebhookInput!){updateWebhook(id:$id,input:$input){userErrors{code field message}}}`

// UpdateWebhook changes what is set in w.
func (c *Client) UpdateWebhook(ctx context.Context, id string, w Webhook) error {
	var data struct {
		UpdateWebhook struct {
			UserErrors UserErrors `json:"userErrors"`
		} `json:"updateWebhook"`
	}
	if err := c.call(ctx, updateWebhook, map[string]any{"id": id, "input": w}, &data); err != nil {
		return err
	}
	return data.UpdateWebhook.UserErrors.err()
}

const rotateSecret = `mutation($id:ID!){rotateWebhookSecret(id:$id,graceSeconds:0){secret userErrors{code field message}}}`

// RotateSecret gives a webhook a new secret; the old one signs no more.
func (c *Client) RotateSecret(ctx context.Context, id string) (secret string, err error) {
	var data struct {
		RotateWebhookSecret struct {
			Secret     string     `json:"secret"`
			UserErrors UserErrors `json:"userErrors"`
		} `json:"rotateWebhookSecret"`
	}
	if err := c.call(ctx, rotateSecret, map[string]any{"id": id}, &data); err != nil {
		return "", err
	}
	return data.RotateWebhookSecret.Secret, data.RotateWebhookSecret.UserErrors.err()
}

const findWebhooks = `query($search:String!){webhooks(filter:{search:$search},first:100){nodes{id name}}}`

// FindWebhook returns the id of the newest webhook of that name, empty when
// there is none.
func (c *Client) FindWebhook(ctx context.Context, name string) (id string, err error) {
	var data struct {
		Webhooks struct {
			Nodes []struct{ ID, Name string } `json:"nodes"`
		} `json:"webhooks"`
	}
	if err := c.call(ctx, findWebhooks, map[string]any{"search": name}, &data); err != nil {
		return "", err
	}
	for _, w := range data.Webhooks.Nodes {
		if w.Name == name {
			return w.ID, nil
		}
	}
	return "", nil
}

// Delivery is what one webhook got, or is to get, of an event.
type Delivery struct {
	ID        string    `json:"id"`
	Status    string    `json:"status"`
	LastError string    `json:"lastError"`
	Attempts  []Attempt `json:"attempts"`
}

// Attempt is one request.
type Attempt struct {
	Number         int `json:"number"`
	ResponseStatus int `json:"responseStatus"`
	DurationMS     int `json:"durationMs"`
}

const deliveriesOfEvent = `query($webhook:ID!,$event:ID!){webhookDeliveries(webhookId:$webhook,filter:{eventId:$event},first:1){nodes{` +
	`id status lastError attempts{number responseStatus durationMs}}}}`

// Delivery returns what a webhook is owed of an event; ok is false when nothing.
func (c *Client) Delivery(ctx context.Context, webhookID, eventID string) (d Delivery, ok bool, err error) {
	var data struct {
		WebhookDeliveries struct {
			Nodes []Delivery `json:"nodes"`
		} `json:"webhookDeliveries"`
	}
	if err := c.call(ctx, deliveriesOfEvent, map[string]any{"webhook": webhookID, "event": eventID}, &data); err != nil {
		return Delivery{}, false, err
	}
	if len(data.WebhookDeliveries.Nodes) == 0 {
		return Delivery{}, false, nil
	}
	return data.WebhookDeliveries.Nodes[0], true, nil
}
