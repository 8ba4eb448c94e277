package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/apiclient"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/mint"
)

const (
	demoTimeout = 60 * time.Second
	// pollEvery is how often the api is asked for what only PostgreSQL knows.
	pollEvery   = 25 * time.Millisecond
	tokenTTL    = 24 * time.Hour
	webhookName = "demo receiver of hooksctl dev"
)

// demonstrate delivers one event, through the front door.
func (s *session) demonstrate(ctx context.Context, sys *system) error {
	bearer, err := s.token(sys)
	if err != nil {
		return err
	}
	client := apiclient.New(sys.apiURL(), bearer, 1)
	defer client.Close()
	within, cancel := context.WithTimeoutCause(ctx, demoTimeout, fmt.Errorf("not done within %s", demoTimeout))
	defer cancel()
	if err := s.deliverOne(within, sys, client); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop
		}
		return err
	}
	s.delivered = true
	sys.arrivals.printFromNowOn()
	if s.cmd.Once {
		return nil
	}
	return s.invite(sys, bearer)
}

func (s *session) token(sys *system) (string, error) {
	claims := token.Claims{TenantID: s.kept.Tenant, Role: string(token.Admin)}
	claims.Subject = "hooksctl-dev"
	return mint.Sign(sys.config.api.Identity, claims, time.Now(), tokenTTL)
}

func (s *session) deliverOne(ctx context.Context, sys *system, client *apiclient.Client) error {
	if err := awaitReady(ctx, sys.apiURL()); err != nil {
		return fmt.Errorf("waiting for the api: %w", err)
	}
	s.step("api, worker, monitor and demo receiver are up")
	webhookID, err := s.webhook(ctx, sys, client)
	if err != nil {
		return fmt.Errorf("setting the demo webhook up: %w", err)
	}
	s.step("webhook %s of tenant %s points to %s", webhookID, s.kept.Tenant, sys.receiverURL())
	accepted, err := client.Dispatch(ctx, demoEvent())
	if err != nil {
		return fmt.Errorf("dispatching the demo event: %w", err)
	}
	s.step("event %s accepted, %d delivery owed", accepted.EventID, accepted.DeliveryCount)
	arrived, err := sys.arrivals.await(ctx, accepted.EventID)
	switch {
	case err != nil:
		return fmt.Errorf("waiting for the demo event to arrive: %w", s.explain(ctx, client, webhookID, accepted.EventID, err))
	case !arrived.Verified:
		return fmt.Errorf("the demo event arrived and its signature was refused: %w", arrived.Fault)
	}
	delivery, err := awaitRecorded(ctx, client, webhookID, accepted.EventID)
	if err != nil {
		return fmt.Errorf("waiting for the delivery to be recorded: %w", err)
	}
	last := delivery.Attempts[len(delivery.Attempts)-1]
	s.out.Printf("\n%s  attempt %d, HTTP %d, %d ms, delivery %s", s.out.Good(s.out.Bold("delivered and verified")),
		last.Number, last.ResponseStatus, last.DurationMS, delivery.ID)
	return nil
}

// webhook makes the demo webhook, or gives the one of the last start a new secret:
// whatever happened to it since then, this receiver knows the secret.
func (s *session) webhook(ctx context.Context, sys *system, client *apiclient.Client) (id string, err error) {
	wanted := apiclient.Webhook{
		Name: webhookName, URL: sys.receiverURL() + "/webhooks", EventPatterns: []string{"*"},
		Description: "Made by hooksctl dev; every start points it to the receiver of that start.",
	}
	id, err = client.FindWebhook(ctx, webhookName)
	if err != nil {
		return "", err
	}
	var secret string
	if id == "" {
		id, secret, err = client.CreateWebhook(ctx, wanted)
	} else {
		wanted.Status = "ACTIVE"
		wanted.Headers = []apiclient.Header{} // hidden ones would not move to the new receiver, and refuse the change
		secret, err = client.RotateSecret(ctx, id)
		err = errors.Join(err, client.UpdateWebhook(ctx, id, wanted))
	}
	if err != nil {
		return "", err
	}
	return id, sys.receiver.Trust(secret)
}

func demoEvent() apiclient.Event {
	return apiclient.Event{
		Event:    "OPPORTUNITY_STAGE_CHANGED",
		ObjectID: "opp-1001",
		Object:   json.RawMessage(`{"id":"opp-1001","name":"200 seats for Acme","stage":"negotiation","amount":48000,"currency":"EUR"}`),
		Previous: json.RawMessage(`{"stage":"proposal"}`),
	}
}

// explain adds what the api knows about a delivery that does not arrive.
func (s *session) explain(ctx context.Context, client *apiclient.Client, webhookID, eventID string, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	delivery, ok, err := client.Delivery(ctx, webhookID, eventID)
	if err != nil || !ok {
		return cause
	}
	return fmt.Errorf("%w (the delivery is %s after %d attempts, last error: %s)", cause, delivery.Status, len(delivery.Attempts), delivery.LastError)
}

// awaitRecorded returns when PostgreSQL says that the delivery succeeded.
func awaitRecorded(ctx context.Context, client *apiclient.Client, webhookID, eventID string) (apiclient.Delivery, error) {
	for {
		delivery, ok, err := client.Delivery(ctx, webhookID, eventID)
		switch {
		case err != nil:
			return apiclient.Delivery{}, err
		case ok && delivery.Status == "SUCCESS" && len(delivery.Attempts) > 0:
			return delivery, nil
		case ok && delivery.Status == "FAILED":
			return apiclient.Delivery{}, fmt.Errorf("it failed: %s", delivery.LastError)
		}
		if err := pause(ctx); err != nil {
			return apiclient.Delivery{}, err
		}
	}
}

// awaitReady returns when the api says that it can accept events.
func awaitReady(ctx context.Context, url string) error {
	for {
		if ready(ctx, url+"/readyz") {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func ready(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
