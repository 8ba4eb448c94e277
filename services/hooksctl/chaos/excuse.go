package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/stage"
)

// try is one request that a delivery owes.
type try struct {
	delivery string
	attempt  int
}

// excuse is a try that was in flight when a process died, froze or was cut off,
// so that nobody can know what became of it. It allows for one request more: the
// same try once again or, if its worker takes it for failed, a later attempt
// although the receiver was content.
type excuse struct {
	try

	failed bool
}

func (e excuse) covers(t try) bool {
	if e.failed {
		return e.delivery == t.delivery && e.attempt < t.attempt
	}
	return e.try == t
}

type excuses []excuse

// take uses up an excuse for a request that came again, if there is one.
func (es *excuses) take(t try) bool {
	i := slices.IndexFunc(*es, func(e excuse) bool { return e.covers(t) })
	if i >= 0 {
		*es = slices.Delete(*es, i, i+1)
	}
	return i >= 0
}

// settling is how long a statement may take whose sender is frozen.
const settling = 50 * time.Millisecond

// strand freezes workers, does something to them, and excuses what they have in
// flight then: the deliveries that they hold leases on. What a frozen worker has
// asked PostgreSQL for and not heard of has led to no request.
func (s *scene) strand(ctx context.Context, failed bool, do func() error, workers ...*stage.Service) error {
	for _, w := range workers {
		if err := w.Freeze(); err != nil {
			return err
		}
	}
	if err := errors.Join(do(), wait(ctx, settling)); err != nil {
		return err
	}
	for _, w := range workers {
		tries, err := s.inFlight(ctx, w, "")
		if err != nil {
			return err
		}
		for _, t := range tries {
			s.excused = append(s.excused, excuse{try: t, failed: failed})
		}
	}
	return nil
}

// killWorking is kill -9 for workers, at a moment at which it is known what they
// have in flight.
func (s *scene) killWorking(ctx context.Context, victims ...*stage.Service) error {
	if err := s.strand(ctx, false, nothing, victims...); err != nil {
		return err
	}
	for _, w := range victims {
		if err := w.Kill(); err != nil {
			return err
		}
	}
	return nil
}

// cutOff begins a fault that cuts workers off from what they have in flight, and
// lets them go on to notice it.
func (s *scene) cutOff(ctx context.Context, failed bool, begin func() error, victims ...*stage.Service) error {
	err := s.strand(ctx, failed, begin, victims...)
	for _, w := range victims {
		err = errors.Join(err, w.Thaw())
	}
	return err
}

// nothing is what is done to workers that it is enough to freeze.
func nothing() error { return nil }

// inFlight lists what a worker holds leases on, of one tenant or of all; a holder's
// name is host-pid-random/number.
func (s *scene) inFlight(ctx context.Context, w *stage.Service, of webhook.TenantID) ([]try, error) {
	const held = `
SELECT delivery_id, attempts + 1 AS attempt FROM pending_deliveries
WHERE lease_holder LIKE '%-' || $1 || '-______/%' AND ($2 = '' OR tenant_id = $2)`
	var rows []struct {
		ID      string `db:"delivery_id"`
		Attempt int    `db:"attempt"`
	}
	if err := s.system.DB.SelectContext(ctx, &rows, held, strconv.Itoa(w.PID()), string(of)); err != nil {
		return nil, fmt.Errorf("listing leases: %w", err)
	}
	tries := make([]try, len(rows))
	for i, row := range rows {
		id, err := webhook.DeliveryIDFromUUID(row.ID)
		if err != nil {
			return nil, err
		}
		tries[i] = try{id.String(), row.Attempt}
	}
	return tries, nil
}
