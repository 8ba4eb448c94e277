package webhook_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestError_comparesByKind(t *testing.T) {
	t.Parallel()
	wrapped := fmt.Errorf("loading webhook: %w", webhook.NotFound("webhook"))
	if !errors.Is(wrapped, webhook.ErrNotFound) {
		t.Error("a wrapped NotFound is not ErrNotFound")
	}
	for name, other := range map[string]error{
		"invalid": webhook.ErrInvalid, "conflict": webhook.ErrConflict,
		"limit": webhook.ErrLimitExceeded, "unavailable": webhook.ErrUnavailable,
	} {
		if errors.Is(wrapped, other) {
			t.Errorf("a NotFound is %s, too", name)
		}
	}
	if errors.Is(webhook.Invalid("a", "b"), webhook.Invalid("c", "d")) {
		t.Error("an error about another field is the same")
	}
}

func TestError_text(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection refused to 10.0.0.1")
	for _, tc := range []struct {
		err  error
		want string
	}{
		{webhook.Invalid("url", "must not be empty"), "url must not be empty"},
		{webhook.Invalid("headers.0.name", "must be a token"), "headers.0.name must be a token"},
		{webhook.Invalid("", "something is wrong"), "something is wrong"},
		{webhook.NotFound("delivery"), "id names no delivery of this tenant"},
		{webhook.Unavailable(cause), "temporarily unavailable, try again"},
		{webhook.Errors{webhook.Invalid("a", "is bad"), webhook.Conflict("b", "is taken")}, "a is bad; b is taken"},
	} {
		if got := tc.err.Error(); got != tc.want {
			t.Errorf("text = %q, want %q", got, tc.want)
		}
	}
	if !errors.Is(webhook.Unavailable(cause), cause) {
		t.Error("the cause is lost")
	}
}

func TestError_Under_copies(t *testing.T) {
	t.Parallel()
	inner := webhook.Invalid("headers.0.name", "must be a token")
	outer := inner.Under("input")
	if want := []string{"input", "headers", "0", "name"}; !slices.Equal(outer.Field, want) {
		t.Errorf("field = %v, want %v", outer.Field, want)
	}
	if want := []string{"headers", "0", "name"}; !slices.Equal(inner.Field, want) {
		t.Errorf("inner field became %v, want %v", inner.Field, want)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	one, two := webhook.Invalid("a", "is bad"), webhook.LimitExceeded("b", "is big")
	for name, tc := range map[string]struct {
		err  error
		want []*webhook.Error
	}{
		"none":        {nil, nil},
		"internal":    {errors.New("boom"), nil},
		"one":         {one, []*webhook.Error{one}},
		"one wrapped": {fmt.Errorf("creating: %w", one), []*webhook.Error{one}},
		"many":        {webhook.Errors{one, two}, []*webhook.Error{one, two}},
		"many within": {fmt.Errorf("creating: %w", webhook.Errors{one, two}), []*webhook.Error{one, two}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := webhook.Faults(tc.err); !slices.Equal(got, tc.want) {
				t.Errorf("faults = %v, want %v", got, tc.want)
			}
		})
	}
	if !errors.Is(webhook.Errors{one, two}, webhook.ErrLimitExceeded) {
		t.Error("errors.Is does not look into Errors")
	}
}
