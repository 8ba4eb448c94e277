package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// TypeDeliver is the task type of every bell.
	TypeDeliver = "webhook:deliver"

	// MaxBellSize is how many deliveries one bell may ring for.
	MaxBellSize = 64

	maxErrorRunes = 300
)

// Bell is what a task says: which deliveries to look at, and nothing but what
// an operator may read. It holds no customer data.
type Bell struct {
	Queue Queue
	// Tenant and EventType are those of the deliveries; empty when they differ.
	Tenant    webhook.TenantID
	EventType string
	// Tenants are those of the deliveries, one each, where they differ; otherwise
	// nil. Bells of former versions do not say.
	Tenants []webhook.TenantID
	// Deliveries has 1 to MaxBellSize ids.
	Deliveries []webhook.DeliveryID
	// Attempt is the number of the attempt that the bell is for; 0 when mixed.
	// PostgreSQL knows better: an own bell that asynq retries keeps its number.
	Attempt int
	// NotBefore is the time of that attempt; zero means now.
	NotBefore time.Time
	// LastError says why the last attempt failed: readable, without URL, body
	// or secret.
	LastError string
	// Exhausted means that the delivery is dead: the bell goes straight to the
	// archive, for the operator's eyes. It takes an own bell.
	Exhausted bool
	// Own means that the bell is for one delivery and has the task id
	// <delivery id>:<attempt>, so that ringing it twice rings once. An id that
	// Redis holds in any state, archived included, swallows the ring: whoever
	// must be heard after that rings a bell that is not its own.
	Own bool
}

// TenantOf returns the tenant of a delivery, empty when the bell does not say.
func (b Bell) TenantOf(i int) webhook.TenantID {
	if i < len(b.Tenants) {
		return b.Tenants[i]
	}
	return b.Tenant
}

// payload is the JSON of a task. Fields may be added, never renamed: tasks of
// the previous version are in Redis while the next one is deployed.
type payload struct {
	Deliveries []string         `json:"deliveries"`
	Tenant     webhook.TenantID `json:"tenant,omitempty"`
	EventType  string           `json:"type,omitempty"`
	Attempt    int              `json:"attempt,omitempty"`
	NotBefore  time.Time        `json:"notBefore,omitzero"`
	LastError  string           `json:"lastError,omitempty"`
	Exhausted  bool             `json:"exhausted,omitempty"`
	Own        bool             `json:"own,omitempty"`
	// Tenants are named once; Of has an index into them for each delivery.
	Tenants []webhook.TenantID `json:"tenants,omitempty"`
	Of      []int              `json:"of,omitempty"`
}

// DecodeBell reads a task's payload. Unknown fields are ignored; anything that
// cannot be a bell is an error. The queue is not part of the payload.
func DecodeBell(data []byte) (Bell, error) {
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
		return Bell{}, errors.New("payload is not the JSON of a bell")
	}
	b := Bell{
		Tenant: p.Tenant, EventType: p.EventType, Attempt: p.Attempt, NotBefore: p.NotBefore.UTC(),
		LastError: p.LastError, Exhausted: p.Exhausted, Own: p.Own,
		Deliveries: make([]webhook.DeliveryID, len(p.Deliveries)),
	}
	for i, s := range p.Deliveries {
		id, err := webhook.ParseDeliveryID(s)
		if err != nil {
			return Bell{}, fmt.Errorf("delivery %d: %w", i, err)
		}
		b.Deliveries[i] = id
	}
	for _, n := range p.Of {
		if n < 0 || n >= len(p.Tenants) {
			return Bell{}, fmt.Errorf("tenant %d of %d", n, len(p.Tenants))
		}
		b.Tenants = append(b.Tenants, p.Tenants[n])
	}
	return b, b.check()
}

// encode is the inverse of DecodeBell, but that LastError is made safe to show.
func (b Bell) encode() ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	p := payload{
		Tenant: b.Tenant, EventType: b.EventType, Attempt: b.Attempt, NotBefore: b.NotBefore.UTC(),
		LastError: safeText(b.LastError), Exhausted: b.Exhausted, Own: b.Own,
		Deliveries: make([]string, len(b.Deliveries)),
	}
	for i, id := range b.Deliveries {
		p.Deliveries[i] = id.String()
	}
	for _, tenant := range b.Tenants {
		n := slices.Index(p.Tenants, tenant)
		if n < 0 {
			n = len(p.Tenants)
			p.Tenants = append(p.Tenants, tenant)
		}
		p.Of = append(p.Of, n)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encoding bell: %w", err)
	}
	return data, nil
}

func (b Bell) check() error {
	n := len(b.Deliveries)
	switch {
	case n == 0 || n > MaxBellSize:
		return fmt.Errorf("bell for %d deliveries: must be 1 to %d", n, MaxBellSize)
	case b.Own && n != 1:
		return fmt.Errorf("own bell for %d deliveries: must be 1", n)
	case b.Exhausted && !b.Own:
		return errors.New("exhausted bell: must be its delivery's own")
	case len(b.Tenants) > 0 && len(b.Tenants) != n:
		return fmt.Errorf("bell for %d deliveries of %d tenants: must be as many", n, len(b.Tenants))
	case b.Attempt < 0:
		return fmt.Errorf("attempt %d: must not be negative", b.Attempt)
	}
	return nil
}

// taskID returns the id of an own bell, empty for others: asynq draws one.
func (b Bell) taskID() string {
	if !b.Own {
		return ""
	}
	return b.Deliveries[0].String() + ":" + strconv.Itoa(b.Attempt)
}

// safeText makes a text fit for one line in a web page and for Redis.
func safeText(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if runes := []rune(s); len(runes) > maxErrorRunes {
		return string(runes[:maxErrorRunes-1]) + "…"
	}
	return s
}
