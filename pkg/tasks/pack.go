package tasks

import (
	"cmp"
	"slices"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// Due is one delivery that wants a bell.
type Due struct {
	Queue     Queue // QueueFor its webhook, Bulk or Test
	Delivery  webhook.DeliveryID
	Tenant    webhook.TenantID
	EventType string
	Attempt   int
}

// Pack puts deliveries into as few bells as queues and size allow, in their
// order within a queue. Size is 1 to MaxBellSize, anything else is MaxBellSize:
// large bells cost Redis less, small ones spread over more workers.
func Pack(due []Due, size int) []Bell {
	if size < 1 || size > MaxBellSize {
		size = MaxBellSize
	}
	due = slices.Clone(due)
	slices.SortStableFunc(due, func(a, b Due) int { return cmp.Compare(a.Queue, b.Queue) })
	var bells []Bell
	for len(due) > 0 {
		n := 1
		for n < len(due) && n < size && due[n].Queue == due[0].Queue {
			n++
		}
		bells = append(bells, bellOf(due[:n]))
		due = due[n:]
	}
	return bells
}

func bellOf(due []Due) Bell {
	first := due[0]
	b := Bell{
		Queue: first.Queue, Tenant: first.Tenant, EventType: first.EventType, Attempt: first.Attempt,
		Deliveries: make([]webhook.DeliveryID, len(due)),
	}
	for i, d := range due {
		b.Deliveries[i] = d.Delivery
		if d.Tenant != first.Tenant {
			b.Tenant = ""
		}
		if d.EventType != first.EventType {
			b.EventType = ""
		}
		if d.Attempt != first.Attempt {
			b.Attempt = 0
		}
	}
	if b.Tenant == "" {
		b.Tenants = make([]webhook.TenantID, len(due))
		for i, d := range due {
			b.Tenants[i] = d.Tenant
		}
	}
	return b
}
