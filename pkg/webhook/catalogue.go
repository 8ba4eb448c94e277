package webhook

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// CatalogueEntry describes a built-in event type.
type CatalogueEntry struct {
	Enum        string // name in the GraphQL schema, e.g. LEAD_STATUS_CHANGED
	Type        EventType
	Object      string // data.objectType of the payload, e.g. lead
	Description string // when the event is sent, in one sentence

	example builtIn
}

// Catalogue returns every built-in event type in the order of the public API.
func Catalogue() []CatalogueEntry { return slices.Clone(catalogue) }

// LookupEnum finds a type by its name in the GraphQL schema.
func LookupEnum(name string) (CatalogueEntry, bool) {
	i, ok := catalogueByEnum[name]
	if !ok {
		return CatalogueEntry{}, false
	}
	return catalogue[i], true
}

// LookupType finds a type by its wire name.
func LookupType(t EventType) (CatalogueEntry, bool) {
	i, ok := catalogueByType[t]
	if !ok {
		return CatalogueEntry{}, false
	}
	return catalogue[i], true
}

// Example returns an event of this type as it could happen in a tenant's CRM.
func (c CatalogueEntry) Example(tenant TenantID) NewEvent {
	record := exampleRecords[c.Object]
	e := NewEvent{
		Tenant: tenant, Type: c.Type, ObjectType: c.Object, ObjectID: record.id,
		Object: record.members.with(c.example.set).json(), CorrelationID: exampleCorrelationID,
	}
	if len(c.example.previous) > 0 {
		e.Previous = c.example.previous.json()
	}
	return e
}

// ExamplePayload returns a complete request body, the same on every call.
func (c CatalogueEntry) ExamplePayload() json.RawMessage {
	digest := sha256.Sum256([]byte(c.Type.name))
	body, err := c.Example(exampleTenant).Body(NewEventID(exampleTime, [10]byte(digest[:10])), exampleTime)
	if err != nil {
		panic(err) // the examples are constants, and a test builds each
	}
	return json.RawMessage(body)
}

// NewTestEvent returns what a test send without a chosen type carries.
func NewTestEvent(tenant TenantID, id WebhookID) NewEvent {
	return NewEvent{
		Tenant: tenant, Type: TestEventType, ObjectType: TestEventType.ObjectType(), ObjectID: id.String(),
		Object: members{
			{"id", `"` + id.String() + `"`},
			{"message", `"This is a test. If its signature verifies, this endpoint is ready for events."`},
		}.json(),
	}
}

// builtIn is one line of the catalogue: set differs from the usual example
// record, previous has the former values of what changed.
type builtIn struct {
	enum        string
	description string
	set         members
	previous    members
}

// members is a JSON object with its order; each value is JSON.
type members []struct{ name, value string }

// with returns m with the values of changes, new members last.
func (m members) with(changes members) members {
	out := slices.Clone(m)
	for _, change := range changes {
		i := slices.IndexFunc(out, func(e struct{ name, value string }) bool { return e.name == change.name })
		if i < 0 {
			out = append(out, change)
			continue
		}
		out[i] = change
	}
	return out
}

func (m members) json() json.RawMessage {
	b := []byte("{")
	for i, e := range m {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendJSONString(b, e.name), ':')
		b = append(b, e.value...)
	}
	return append(b, '}')
}

// The catalogue, built once and never changed.
var (
	catalogue       = newCatalogue(leadEvents, opportunityEvents, accountEvents, contactEvents, activityEvents)
	catalogueByEnum = indexCatalogue(func(c CatalogueEntry) string { return c.Enum })
	catalogueByType = indexCatalogue(func(c CatalogueEntry) EventType { return c.Type })
)

// newCatalogue derives wire names: LEAD_STATUS_CHANGED is lead.status_changed.
func newCatalogue(groups ...[]builtIn) []CatalogueEntry {
	var out []CatalogueEntry
	for _, b := range slices.Concat(groups...) {
		t := EventType{strings.Replace(strings.ToLower(b.enum), "_", ".", 1)}
		out = append(out, CatalogueEntry{Enum: b.enum, Type: t, Object: t.ObjectType(), Description: b.description, example: b})
	}
	return out
}

func indexCatalogue[K comparable](key func(CatalogueEntry) K) map[K]int {
	out := make(map[K]int, len(catalogue))
	for i, entry := range catalogue {
		out[key(entry)] = i
	}
	return out
}

// What all examples share.
const (
	exampleTenant        TenantID = "acme"
	exampleCorrelationID          = "req-7f3a91"
)

var exampleTime = time.Date(2026, time.November, 23, 10, 0, 0, 0, time.UTC)
