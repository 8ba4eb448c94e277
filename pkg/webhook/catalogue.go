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
func Catalogue() []CatalogueEntry { return slices.Clone(catalogue.entries) }

// LookupEnum finds a type by its name in the GraphQL schema.
func LookupEnum(name string) (CatalogueEntry, bool) {
	i, ok := catalogue.byEnum[name]
	if !ok {
		return CatalogueEntry{}, false
	}
	return catalogue.entries[i], true
}

// LookupType finds a type by its wire name.
func LookupType(t EventType) (CatalogueEntry, bool) {
	i, ok := catalogue.byType[t]
	if !ok {
		return CatalogueEntry{}, false
	}
	return catalogue.entries[i], true
}

// ByPlatform reports whether the service itself sends events of this type, and
// nobody else may.
func (c CatalogueEntry) ByPlatform() bool {
	_, reserved := c.Type.reservedPrefix()
	return reserved
}

// Example returns an event of this type as it could happen in a tenant's CRM.
func (c CatalogueEntry) Example(tenant TenantID) NewEvent {
	if c.ByPlatform() {
		return exampleNotice(c.Type, tenant).newEvent()
	}
	id, record := exampleRecord(c.Object)
	e := NewEvent{
		Tenant: tenant, Type: c.Type, ObjectType: c.Object, ObjectID: id,
		Object: record.with(c.example.set).json(), CorrelationID: exampleCorrelationID,
	}
	if len(c.example.previous) > 0 {
		e.Previous = c.example.previous.json()
	}
	return e
}

// ExamplePayload returns a complete request body, the same on every call.
func (c CatalogueEntry) ExamplePayload() json.RawMessage {
	digest := sha256.Sum256([]byte(c.Type.name))
	body, err := c.Example(exampleTenant).Body(NewEventID(exampleTime(), [10]byte(digest[:10])), exampleTime())
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

// catalogue is built once and never changed.
var catalogue = newCatalogue() //nolint:gochecknoglobals // a constant table, read for each event

type catalogueIndex struct {
	entries []CatalogueEntry
	byEnum  map[string]int
	byType  map[EventType]int
}

// newCatalogue derives wire names: LEAD_STATUS_CHANGED is lead.status_changed.
func newCatalogue() catalogueIndex {
	c := catalogueIndex{byEnum: map[string]int{}, byType: map[EventType]int{}}
	for i, b := range slices.Concat(leadEvents(), opportunityEvents(), accountEvents(), contactEvents(), activityEvents(), platformEvents()) {
		t := EventType{strings.Replace(strings.ToLower(b.enum), "_", ".", 1)}
		c.entries = append(c.entries, CatalogueEntry{Enum: b.enum, Type: t, Object: t.ObjectType(), Description: b.description, example: b})
		c.byEnum[b.enum], c.byType[t] = i, i
	}
	return c
}

// What all examples share.
const (
	exampleTenant        = TenantID("acme")
	exampleCorrelationID = "req-7f3a91"
)

func exampleTime() time.Time { return time.Date(2026, time.November, 23, 10, 0, 0, 0, time.UTC) }
