package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/tasks"
)

// formatPayload shows what a task rings for in a few short lines, each delivery
// with its tenant where they differ, and nothing of a payload that it cannot
// read. The last error has its own column.
func formatPayload(taskType string, payload []byte) string {
	if taskType != tasks.TypeDeliver {
		return fmt.Sprintf("not a task of ours (%d bytes)", len(payload))
	}
	b, err := tasks.DecodeBell(payload)
	if err != nil {
		return fmt.Sprintf("unreadable (%d bytes)", len(payload))
	}
	lines := []string{
		"tenant: " + orSeveral(string(b.Tenant)),
		"event:  " + orSeveral(b.EventType),
		attempt(b),
	}
	for i, id := range b.Deliveries {
		line := id.String()
		if b.Tenant == "" && b.TenantOf(i) != "" {
			line += "  " + string(b.TenantOf(i))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func attempt(b tasks.Bell) string {
	switch {
	case b.Exhausted:
		return fmt.Sprintf("attempt %d was the last", b.Attempt)
	case b.Attempt == 0:
		return "attempt (several)"
	case b.NotBefore.IsZero():
		return fmt.Sprintf("attempt %d", b.Attempt)
	default:
		return fmt.Sprintf("attempt %d, not before\n%s", b.Attempt, b.NotBefore.Format(time.RFC3339))
	}
}

func orSeveral(s string) string {
	if s == "" {
		return "(several)"
	}
	return s
}
