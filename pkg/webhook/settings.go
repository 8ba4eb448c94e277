package webhook

import (
	"strconv"
	"time"
)

const maxPatterns = 100

// Draft is what a caller wants a new webhook to be, before any rule was checked.
type Draft struct {
	Name        string
	Description string
	URL         string
	Events      []EventType // from the catalogue
	Patterns    []string
	Headers     []Header
	PolicyDraft
}

// PolicyDraft is what a caller says about a Policy, in the caller's units; nil:
// nothing.
type PolicyDraft struct {
	MaxAttempts      *int32
	TimeoutMs        *int32
	InitialBackoffMs *int32
}

// Settings is what a person decides about a webhook, in its final form.
type Settings struct {
	Name        string
	Description string
	URL         string
	Events      []EventType
	Patterns    []Pattern
	Headers     []Header
	Policy      Policy
}

// Parse checks every rule and fills in the defaults. It names all faults at once
// (Errors), by the field names of the public API.
func (d Draft) Parse(rules URLRules) (Settings, error) {
	var s Settings
	var faults Errors
	s.setName(d.Name, &faults)
	s.setDescription(d.Description, &faults)
	s.setURL(d.URL, rules, &faults)
	s.setEvents(d.Events, &faults)
	s.setPatterns(d.Patterns, &faults)
	if len(d.Events) == 0 && len(d.Patterns) == 0 {
		faults.add(emptySubscription())
	}
	s.setHeaders(d.Headers, &faults)
	s.Policy = DefaultPolicy()
	s.setPolicy(d.PolicyDraft, &faults)
	if len(faults) > 0 {
		return Settings{}, faults
	}
	return s, nil
}

// Webhook makes an active webhook of s.
func (s Settings) Webhook(id WebhookID, tenant TenantID, createdBy string, now time.Time) Webhook {
	return s.onto(Webhook{
		ID: id, Tenant: tenant, Status: Active, APIVersion: CurrentAPIVersion,
		CreatedBy: createdBy, CreatedAt: now, UpdatedAt: now,
	})
}

// Change is what a caller wants of an existing webhook; nil: as it is.
type Change struct {
	Name        *string
	Description *string
	URL         *string
	Events      *[]EventType // from the catalogue
	Patterns    *[]string
	Headers     *[]Header
	Status      *Status // Active or Paused
	PolicyDraft
	// By is who asks, for StatusReason.
	By string
}

// Apply returns w with the change, or all faults at once. What the change leaves
// alone is not checked again, so that a rule that came later locks nobody out.
//
// Only the status machine and the settings are its business: UpdatedAt stays, and
// releasing what was held is up to the store.
func (c Change) Apply(w Webhook, rules URLRules) (Webhook, error) {
	s := w.settings()
	var faults Errors
	if c.Name != nil {
		s.setName(*c.Name, &faults)
	}
	if c.Description != nil {
		s.setDescription(*c.Description, &faults)
	}
	if c.URL != nil {
		s.setURL(*c.URL, rules, &faults)
	}
	c.applySubscription(&s, &faults)
	c.applyHeaders(&s, w, &faults)
	s.setPolicy(c.PolicyDraft, &faults)
	changed := s.onto(w)
	if c.Status != nil {
		faults.add(changed.setStatus(*c.Status, c.By))
	}
	if len(faults) > 0 {
		return Webhook{}, faults
	}
	return changed, nil
}

func (c Change) applySubscription(s *Settings, faults *Errors) {
	if c.Events == nil && c.Patterns == nil {
		return
	}
	events, patterns := len(s.Events), len(s.Patterns)
	if c.Events != nil {
		events = len(*c.Events)
		s.setEvents(*c.Events, faults)
	}
	if c.Patterns != nil {
		patterns = len(*c.Patterns)
		s.setPatterns(*c.Patterns, faults)
	}
	if events+patterns == 0 {
		faults.add(emptySubscription())
	}
}

func emptySubscription() *Error {
	return Invalid("events", "must not be empty while eventPatterns is empty, too")
}

func (w *Webhook) setStatus(to Status, by string) *Error {
	switch {
	case to != Active && to != Paused:
		return Invalid("status", "must be ACTIVE or PAUSED")
	case !w.Status.CanBecome(to): // it is so already, and keeps its reason
		return nil
	case to == Active:
		w.StatusReason = ""
	default:
		w.StatusReason = "paused by " + by
	}
	w.Status = to
	return nil
}

func (w Webhook) settings() Settings {
	return Settings{
		Name: w.Name, Description: w.Description, URL: w.URL,
		Events: w.Events, Patterns: w.Patterns, Headers: w.Headers, Policy: w.Policy,
	}
}

func (s Settings) onto(w Webhook) Webhook {
	w.Name, w.Description, w.URL = s.Name, s.Description, s.URL
	w.Events, w.Patterns, w.Headers, w.Policy = s.Events, s.Patterns, s.Headers, s.Policy
	return w
}

func (s *Settings) setName(raw string, faults *Errors) {
	name, fault := parseName(raw)
	faults.add(fault)
	s.Name = name
}

func (s *Settings) setDescription(raw string, faults *Errors) {
	description, fault := parseDescription(raw)
	faults.add(fault)
	s.Description = description
}

func (s *Settings) setURL(raw string, rules URLRules, faults *Errors) {
	normal, err := rules.Parse(raw)
	faults.addAll(err)
	s.URL = normal
}

func (s *Settings) setHeaders(raw []Header, faults *Errors) {
	headers, err := ParseHeaders(raw)
	faults.addAll(err)
	s.Headers = headers
}

func (s *Settings) setEvents(raw []EventType, faults *Errors) {
	seen := make(map[EventType]bool, len(raw))
	for i, t := range raw {
		field := "events." + strconv.Itoa(i)
		entry, known := LookupType(t)
		switch {
		case !known:
			faults.add(Invalid(field, "must be a built-in event type; custom types go into eventPatterns"))
		case seen[t]:
			faults.add(Invalid(field, "must not repeat "+entry.Enum))
		}
		seen[t] = true
	}
	s.Events = append([]EventType{}, raw...)
}

func (s *Settings) setPatterns(raw []string, faults *Errors) {
	if len(raw) > maxPatterns {
		faults.add(LimitExceeded("eventPatterns", "must have at most 100 entries"))
		return
	}
	s.Patterns = make([]Pattern, 0, len(raw))
	seen := make(map[Pattern]bool, len(raw))
	for i, text := range raw {
		field := "eventPatterns." + strconv.Itoa(i)
		pattern, err := ParsePattern(text)
		switch {
		case err != nil:
			faults.add(about(field, err))
		case seen[pattern]:
			faults.add(Invalid(field, "must not repeat "+text))
		}
		seen[pattern] = true
		s.Patterns = append(s.Patterns, pattern)
	}
}

func (s *Settings) setPolicy(d PolicyDraft, faults *Errors) {
	if d.MaxAttempts != nil {
		s.Policy.MaxAttempts = int(*d.MaxAttempts)
	}
	if d.TimeoutMs != nil {
		s.Policy.Timeout = time.Duration(*d.TimeoutMs) * time.Millisecond
	}
	if d.InitialBackoffMs != nil {
		s.Policy.InitialBackoff = time.Duration(*d.InitialBackoffMs) * time.Millisecond
	}
	faults.addAll(s.Policy.Validate())
}
