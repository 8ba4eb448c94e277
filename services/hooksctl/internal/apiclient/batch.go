package apiclient

import "context"

const dispatchEvents = `mutation($inputs:[DispatchEventInput!]!){dispatchEvents(inputs:$inputs){eventIds deliveryCount userErrors{code field message}}}`

// DispatchAll has several events accepted, all or none, and returns their ids in
// the order of events.
func (c *Client) DispatchAll(ctx context.Context, events []Event) (ids []string, deliveries int, err error) {
	var data struct {
		DispatchEvents struct {
			EventIDs      []string   `json:"eventIds"`
			DeliveryCount int        `json:"deliveryCount"`
			UserErrors    UserErrors `json:"userErrors"`
		} `json:"dispatchEvents"`
	}
	if err := c.call(ctx, dispatchEvents, map[string]any{"inputs": events}, &data); err != nil {
		return nil, 0, err
	}
	made := data.DispatchEvents
	return made.EventIDs, made.DeliveryCount, made.UserErrors.err()
}
