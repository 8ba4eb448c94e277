package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// storedEvent is an event that PostgreSQL holds.
type storedEvent struct {
	id     webhook.EventID
	tenant webhook.TenantID
	tag    string // its mutation's
}

// storedDelivery is a delivery that PostgreSQL holds.
type storedDelivery struct {
	attempts  int       // recorded ones
	succeeded time.Time // zero: it has not
}

// ledger is what PostgreSQL holds when all is over.
type ledger struct {
	events     []storedEvent
	deliveries map[webhook.DeliveryID]storedDelivery
}

// fill adds to the books what is known when all is over.
func (s *scene) fill(ctx context.Context, b *books) error {
	var err error
	if b.stored.events, err = s.events(ctx); err != nil {
		return err
	}
	if b.stored.deliveries, err = s.deliveries(ctx); err != nil {
		return err
	}
	if b.arrived, err = s.receiver.Arrivals(ctx); err != nil {
		return err
	}
	for _, service := range s.services() {
		if !service.Running() && !s.down[service] {
			b.odd = append(b.odd, service.Name()+" ended by itself")
		}
	}
	if b.drained {
		if err := s.audit(ctx, b); err != nil {
			return err
		}
	}
	if b.fault.shows != nil {
		if err := b.fault.shows(ctx, s); err != nil {
			b.odd = append(b.odd, err.Error())
		}
	}
	return s.readLogs(b)
}

func (s *scene) events(ctx context.Context) ([]storedEvent, error) {
	var rows []struct {
		ID     string `db:"id"`
		Tenant string `db:"tenant_id"`
		Object string `db:"object"`
	}
	err := s.system.DB.SelectContext(ctx, &rows, `SELECT id, tenant_id, body::json -> 'data' ->> 'objectId' AS object FROM events`)
	if err != nil {
		return nil, fmt.Errorf("listing events: %w", err)
	}
	events := make([]storedEvent, len(rows))
	for i, row := range rows {
		id, err := webhook.EventIDFromUUID(row.ID)
		if err != nil {
			return nil, err
		}
		tag, _, _ := strings.Cut(row.Object, "/")
		events[i] = storedEvent{id: id, tenant: webhook.TenantID(row.Tenant), tag: tag}
	}
	return events, nil
}

func (s *scene) deliveries(ctx context.Context) (map[webhook.DeliveryID]storedDelivery, error) {
	var rows []struct {
		ID       string    `db:"id"`
		Attempts int       `db:"attempt_count"`
		Success  bool      `db:"success"`
		At       time.Time `db:"at"`
	}
	err := s.system.DB.SelectContext(ctx, &rows,
		`SELECT id, attempt_count, status = 'success' AS success, coalesce(completed_at, now()) AS at FROM deliveries`)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	stored := make(map[webhook.DeliveryID]storedDelivery, len(rows))
	for _, row := range rows {
		id, err := webhook.DeliveryIDFromUUID(row.ID)
		if err != nil {
			return nil, err
		}
		d := storedDelivery{attempts: row.Attempts}
		if row.Success {
			d.succeeded = row.At
		}
		stored[id] = d
	}
	return stored, nil
}

// audit looks for rows that contradict each other when nothing is owed.
func (s *scene) audit(ctx context.Context, b *books) error {
	for oddity, query := range map[string]string{
		"lanes that count what is not there": `SELECT count(*) FROM lanes WHERE admitted <> 0 OR queued <> 0`,
		"deliveries with gaps in their attempts": `
SELECT count(*) FROM deliveries d LEFT JOIN (SELECT delivery_id, count(*) AS n, max(number) AS last FROM attempts GROUP BY 1) a ON a.delivery_id = d.id
WHERE d.attempt_count <> coalesce(a.n, 0) OR d.attempt_count <> coalesce(a.last, 0)`,
	} {
		var n int
		if err := s.system.DB.GetContext(ctx, &n, query); err != nil {
			return fmt.Errorf("looking for %s: %w", oddity, err)
		}
		if n > 0 {
			b.odd = append(b.odd, fmt.Sprintf("%d %s", n, oddity))
		}
	}
	return nil
}

// readLogs looks for what services say only about faults of their own.
func (s *scene) readLogs(b *books) error {
	for _, service := range s.services() {
		text, err := os.ReadFile(service.Log)
		if err != nil {
			return fmt.Errorf("reading a log: %w", err)
		}
		for _, sign := range []string{"panic: ", "fatal error: ", `"msg":"panic`, "lanes had wrong counts"} {
			if strings.Contains(string(text), sign) {
				b.odd = append(b.odd, fmt.Sprintf("%s says %q", service.Name(), sign))
			}
		}
	}
	return nil
}
