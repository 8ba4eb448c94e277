package webhook_test

import (
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// faults lists the caller's faults in err as "KIND field: rule".
func faults(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	found := webhook.Faults(err)
	if len(found) == 0 {
		t.Fatalf("error %v is nothing that a caller can mend", err)
	}
	kinds := map[webhook.Kind]string{
		webhook.KindInvalid: "invalid", webhook.KindNotFound: "not found", webhook.KindConflict: "conflict",
		webhook.KindLimitExceeded: "limit exceeded", webhook.KindUnavailable: "unavailable",
	}
	out := make([]string, len(found))
	for i, fault := range found {
		out[i] = kinds[fault.Kind] + " " + strings.Join(fault.Field, ".") + ": " + fault.Rule
	}
	return out
}

// fields lists the fields at fault in err as "KIND field".
func fields(t *testing.T, err error) []string {
	t.Helper()
	out := faults(t, err)
	for i, text := range out {
		out[i], _, _ = strings.Cut(text, ":")
	}
	return out
}

func eventType(t testing.TB, name string) webhook.EventType {
	t.Helper()
	typ, err := webhook.ParseEventType(name)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

func pattern(t testing.TB, text string) webhook.Pattern {
	t.Helper()
	p, err := webhook.ParsePattern(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func texts[T interface{ String() string }](in []T) []string {
	out := make([]string, len(in))
	for i, v := range in {
		out[i] = v.String()
	}
	return out
}

func ptr[T any](v T) *T { return &v }
