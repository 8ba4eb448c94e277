// Package receiver is a webhook receiver for development.
//
// It verifies each request with the reference library of Standard Webhooks,
// which shares no code with the signer, and can fail on demand. It keeps
// nothing and answers at once unless told otherwise.
package receiver

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const maxBodyBytes = 2 << 20

// Request is one request that came, and what was made of it.
type Request struct {
	At        time.Time
	EventID   string
	EventType string
	Delivery  string
	Attempt   string
	Body      []byte
	// Fault says why the signature was refused. It is nil for a good one, and
	// when there was no secret to verify with.
	Fault error
	// Verified tells that a signature was checked, and was good.
	Verified bool
	// Status is what was answered.
	Status int
}

// Misbehaviour is what a receiver does wrong on demand.
type Misbehaviour struct {
	// Status answers every Every-th good request; 0 for none.
	Status int
	Every  int
	// Delay comes before each answer.
	Delay time.Duration
}

// Receiver is an http.Handler: POST is a webhook, GET a sign of life.
type Receiver struct {
	wrong   Misbehaviour
	seen    func(Request)
	secrets atomic.Pointer[[]*standardwebhooks.Webhook]
	count   atomic.Int64
}

// New makes a receiver without secrets, which tells seen of each request before
// it answers.
func New(wrong Misbehaviour, seen func(Request)) *Receiver {
	return &Receiver{wrong: wrong, seen: seen}
}

// Trust makes the receiver accept what was signed with one of the secrets, and
// nothing else.
func (r *Receiver) Trust(secrets ...string) error {
	verifiers := make([]*standardwebhooks.Webhook, len(secrets))
	for i, secret := range secrets {
		verifier, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return errors.New("a secret must be whsec_ followed by base64") // err may quote it
		}
		verifiers[i] = verifier
	}
	r.secrets.Store(&verifiers)
	return nil
}

// ServeHTTP answers 204 for a good request and 401 for a bad signature.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		_, _ = fmt.Fprintln(w, "This is a webhook receiver: it takes POST.")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBodyBytes))
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	got := Request{
		At: time.Now(), Body: body,
		EventID: req.Header.Get(standardwebhooks.HeaderWebhookID), EventType: req.Header.Get("Crm-Event-Type"),
		Delivery: req.Header.Get("Crm-Delivery-Id"), Attempt: req.Header.Get("Crm-Attempt"),
	}
	got.Verified, got.Fault = r.verify(body, req.Header)
	got.Status = r.status(got.Fault)
	r.wait(req)
	if r.seen != nil {
		r.seen(got)
	}
	w.WriteHeader(got.Status)
}

func (r *Receiver) verify(body []byte, header http.Header) (verified bool, fault error) {
	verifiers := r.secrets.Load()
	if verifiers == nil || len(*verifiers) == 0 {
		return false, nil
	}
	for _, verifier := range *verifiers {
		if fault = verifier.Verify(body, header); fault == nil {
			return true, nil
		}
	}
	return false, fault
}

func (r *Receiver) status(fault error) int {
	if fault != nil {
		return http.StatusUnauthorized
	}
	if n := r.count.Add(1); r.wrong.Status != 0 && n%int64(max(r.wrong.Every, 1)) == 0 {
		return r.wrong.Status
	}
	return http.StatusNoContent
}

func (r *Receiver) wait(req *http.Request) {
	if r.wrong.Delay <= 0 {
		return
	}
	timer := time.NewTimer(r.wrong.Delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-req.Context().Done(): // the sender's patience ended first
	}
}
