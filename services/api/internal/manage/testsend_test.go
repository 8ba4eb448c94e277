package manage_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
	"github.com/crm-webhooks/crm-webhooks/services/api/internal/manage"
)

func hookID(t *testing.T) webhook.WebhookID {
	t.Helper()
	return webhook.NewWebhookID(time.Now(), [10]byte{1})
}

// result is a TestResult without its delivery, and how long it took.
type result struct {
	success  bool
	status   int
	duration time.Duration
	err      string
	took     time.Duration
}

func TestTest_waitsForTheOutcome(t *testing.T) {
	t.Parallel()
	succeedAfter := func(wait time.Duration) func(*webhook.Delivery, time.Duration) {
		return func(d *webhook.Delivery, after time.Duration) {
			if after >= wait {
				d.Status, d.AttemptCount, d.ResponseStatus = webhook.Succeeded, 1, 204
			}
		}
	}
	for name, tc := range map[string]struct {
		finish    func(*webhook.Delivery, time.Duration)
		leased    bool
		want      result // took: at most
		canceled  bool
		looksMost int
	}{
		"quick success": {
			finish: succeedAfter(5 * time.Millisecond),
			want:   result{true, 204, 42 * time.Millisecond, "", 10 * time.Millisecond}, looksMost: 2,
		},
		"slow success": {
			finish: succeedAfter(4 * time.Second),
			want:   result{true, 204, 42 * time.Millisecond, "", 4100 * time.Millisecond}, looksMost: 50,
		},
		"failure": {
			finish: func(d *webhook.Delivery, _ time.Duration) {
				d.Status, d.AttemptCount, d.ResponseStatus = webhook.Failed, 1, 500
				d.FailureReason, d.LastError = webhook.AttemptsExhausted, "receiver answered 500"
			},
			want: result{false, 500, 42 * time.Millisecond, "receiver answered 500", 0}, looksMost: 1,
		},
		"no worker": {
			canceled: true,
			want:     result{false, 0, 0, "no worker took the test within 7s; is a worker running?", 6750 * time.Millisecond}, looksMost: 80,
		},
		"recorded while it is called off": {
			finish: succeedAfter(6800 * time.Millisecond), leased: true,
			want: result{true, 204, 42 * time.Millisecond, "", 6900 * time.Millisecond}, looksMost: 85,
		},
		"a worker hangs": {
			leased: true,
			want: result{
				false, 0, 0, "no outcome within 7s; a worker has the test, and its delivery will show how it went", 7 * time.Second,
			}, looksMost: 85,
		},
		"deleted meanwhile": {
			finish: func(d *webhook.Delivery, _ time.Duration) {
				d.Status, d.FailureReason = webhook.Failed, webhook.WebhookDeleted
			},
			want: result{false, 0, 0, "the webhook was deleted meanwhile", 0}, looksMost: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &oneTest{finish: tc.finish, leased: tc.leased}
				began := time.Now()
				r, err := f.service().Test(t.Context(), "acme", hookID(t), nil)
				if err != nil {
					t.Fatal(err)
				}
				got := result{r.Success, r.ResponseStatus, r.Duration, r.Error, tc.want.took}
				if got != tc.want || time.Since(began) > tc.want.took {
					t.Errorf("got %+v after %s, want %+v", got, time.Since(began), tc.want)
				}
				if f.canceled != tc.canceled || f.looks > tc.looksMost || r.Delivery.ID != f.delivery.ID {
					t.Errorf("canceled %v, looked %d times, delivery %s", f.canceled, f.looks, r.Delivery.ID)
				}
			})
		})
	}
}

func TestTest_isCalledOffWhenTheCallerLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &oneTest{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.service().Test(ctx, "acme", hookID(t), nil)
		if !errors.Is(err, context.DeadlineExceeded) || !f.canceled {
			t.Errorf("err = %v, canceled = %v, want the caller's reason and true", err, f.canceled)
		}
	})
}

func TestTest_sendsTheExampleOfTheType(t *testing.T) {
	t.Parallel()
	entry, _ := webhook.LookupEnum("LEAD_CONVERTED")
	for name, tc := range map[string]struct {
		event *webhook.CatalogueEntry
		want  string
	}{
		"none":  {nil, `"type":"webhook.test"`},
		"given": {&entry, `"type":"lead.converted"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked webhook.Event
			s := manage.New(manage.Config{Tests: askOnly{func(e webhook.Event) { asked = e }}, Now: time.Now})
			if _, err := s.Test(t.Context(), "acme", hookID(t), tc.event); !errors.Is(err, webhook.ErrNotFound) {
				t.Fatal(err)
			}
			for _, part := range []string{tc.want, `"id":"` + asked.ID.String() + `"`, `"tenantId":"acme"`} {
				if !strings.Contains(asked.Body, part) {
					t.Errorf("body has no %s: %s", part, asked.Body)
				}
			}
		})
	}
}

// askOnly sees the event and knows no webhook.
type askOnly struct{ see func(webhook.Event) }

func (a askOnly) Ask(_ context.Context, _ webhook.WebhookID, e webhook.Event) (webhook.Owed, time.Duration, error) {
	a.see(e)
	return webhook.Owed{}, 0, webhook.NotFound("webhook")
}

func (askOnly) Cancel(context.Context, webhook.TenantID, webhook.DeliveryID) (bool, error) {
	return false, errors.New("nothing was asked for")
}
