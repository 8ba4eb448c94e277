package webhook_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestCatalogue_entries(t *testing.T) {
	t.Parallel()
	sentence := regexp.MustCompile(`^[A-Z][^.]*\.$`)
	objects := []string{"lead", "opportunity", "account", "contact", "activity", "webhook", "delivery"}
	all := webhook.Catalogue()
	if got, want := len(all), 47; got != want {
		t.Errorf("the catalogue has %d types, want %d", got, want)
	}
	seen := map[string]bool{}
	for _, entry := range all {
		if seen[entry.Enum] {
			t.Errorf("%s is there twice", entry.Enum)
		}
		seen[entry.Enum] = true
		if want := strings.Replace(strings.ToLower(entry.Enum), "_", ".", 1); entry.Type.String() != want {
			t.Errorf("%s travels as %s, want %s", entry.Enum, entry.Type, want)
		}
		if parsed, err := webhook.ParseEventType(entry.Type.String()); err != nil || parsed != entry.Type {
			t.Errorf("%s is no event type: %v", entry.Type, err)
		}
		if !slices.Contains(objects, entry.Object) || !strings.HasPrefix(entry.Type.String(), entry.Object+".") {
			t.Errorf("%s has the object %s", entry.Enum, entry.Object)
		}
		if !sentence.MatchString(entry.Description) {
			t.Errorf("%s: %q is not one sentence", entry.Enum, entry.Description)
		}
		if found, ok := webhook.LookupEnum(entry.Enum); !ok || found.Type != entry.Type {
			t.Errorf("looking %s up finds %v", entry.Enum, found.Type)
		}
		if found, ok := webhook.LookupType(entry.Type); !ok || found.Enum != entry.Enum {
			t.Errorf("looking %s up finds %v", entry.Type, found.Enum)
		}
	}
}

func TestCatalogue_names(t *testing.T) {
	t.Parallel()
	for enum, want := range map[string]string{
		"LEAD_CREATED": "lead.created", "OPPORTUNITY_STAGE_CHANGED": "opportunity.stage_changed",
		"OPPORTUNITY_CLOSE_DATE_CHANGED": "opportunity.close_date_changed", "ACTIVITY_OVERDUE": "activity.overdue",
	} {
		if entry, ok := webhook.LookupEnum(enum); !ok || entry.Type.String() != want {
			t.Errorf("%s = %s, want %s", enum, entry.Type, want)
		}
	}
	if _, ok := webhook.LookupEnum("LEAD_EXPLODED"); ok {
		t.Error("an unknown name is found")
	}
	if _, ok := webhook.LookupType(webhook.TestEventType); ok {
		t.Error("webhook.test is in the catalogue")
	}
	if _, ok := webhook.LookupType(webhook.EventType{}); ok {
		t.Error("the zero type is in the catalogue")
	}
}

func TestCatalogue_returnsACopy(t *testing.T) {
	t.Parallel()
	webhook.Catalogue()[0].Enum = "CHANGED"
	if got := webhook.Catalogue()[0].Enum; got != "LEAD_CREATED" {
		t.Errorf("first entry = %s, want LEAD_CREATED", got)
	}
}

func TestCatalogueEntry_ExamplePayload(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, entry := range webhook.Catalogue() {
		t.Run(entry.Enum, func(t *testing.T) {
			var body struct {
				ID            string `json:"id"`
				Type          string `json:"type"`
				APIVersion    string `json:"apiVersion"`
				Timestamp     string `json:"timestamp"`
				TenantID      string `json:"tenantId"`
				CorrelationID string `json:"correlationId"`
				Data          struct {
					ObjectType    string         `json:"objectType"`
					ObjectID      string         `json:"objectId"`
					Object        map[string]any `json:"object"`
					Previous      map[string]any `json:"previous"`
					ChangedFields []string       `json:"changedFields"`
				} `json:"data"`
			}
			if err := json.Unmarshal(entry.ExamplePayload(), &body); err != nil {
				t.Fatal(err)
			}
			if _, err := webhook.ParseEventID(body.ID); err != nil || ids[body.ID] {
				t.Errorf("id %s is invalid or taken", body.ID)
			}
			ids[body.ID] = true
			if body.Type != entry.Type.String() || body.Data.ObjectType != entry.Object || body.APIVersion != webhook.CurrentAPIVersion {
				t.Errorf("envelope = %+v", body)
			}
			if body.Data.Object["id"] != body.Data.ObjectID {
				t.Errorf("the record's id is %v, objectId %s", body.Data.Object["id"], body.Data.ObjectID)
			}
			for field, former := range body.Data.Previous {
				now, ok := body.Data.Object[field]
				if !ok {
					t.Errorf("previous has %s, the record does not", field)
				}
				if cmp.Equal(former, now) {
					t.Errorf("%s did not change", field)
				}
				if !slices.Contains(body.Data.ChangedFields, field) {
					t.Errorf("changedFields lacks %s", field)
				}
			}
			changes := !strings.HasSuffix(entry.Enum, "_CREATED") && entry.Enum != "CONTACT_ERASED" && entry.Enum != "DELIVERY_EXHAUSTED"
			if (len(body.Data.ChangedFields) > 0) != changes {
				t.Errorf("changed fields = %v", body.Data.ChangedFields)
			}
			if err := entry.Example("acme").Validate(); err != nil {
				t.Errorf("the example is no valid event: %v", err)
			}
			if again := entry.ExamplePayload(); string(again) != string(entry.ExamplePayload()) {
				t.Error("the example differs from call to call")
			}
		})
	}
}

func TestNewTestEvent(t *testing.T) {
	t.Parallel()
	id := webhook.NewWebhookID(instant, [10]byte{1})
	e := webhook.NewTestEvent("acme", id)
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	body, err := e.Body(webhook.NewEventID(instant, [10]byte{2}), instant)
	if err != nil {
		t.Fatal(err)
	}
	want := `"data":{"objectType":"webhook","objectId":"` + id.String() + `","object":{"id":"` + id.String() + `","message":`
	if !strings.Contains(body, `"type":"webhook.test"`) || !strings.Contains(body, want) {
		t.Errorf("body = %s", body)
	}
}
