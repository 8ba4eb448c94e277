package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"
)

// TenantID names one customer of the CRM. It comes from a verified token and is
// passed explicitly to every query (I5).
type TenantID string

// ParseTenantID accepts 1 to 64 characters of [A-Za-z0-9._:-].
func ParseTenantID(s string) (TenantID, error) {
	if s == "" || len(s) > 64 {
		return "", Invalid("tenantId", "must have 1 to 64 characters")
	}
	for _, c := range []byte(s) {
		if !isAlphanumeric(c) && !strings.ContainsRune("._:-", rune(c)) {
			return "", Invalid("tenantId", "may contain only letters, digits and . _ : -")
		}
	}
	return TenantID(s), nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// The three kinds of id. Each is a UUIDv7 behind a prefix that names its kind,
// so an id pasted into a ticket says what it is, and so rows sort by time.
type (
	// WebhookID identifies a webhook, e.g. "whk_0192f0c1d2e37a4b8c5d6e7f80912a3b".
	WebhookID struct{ uuid uuid }
	// EventID identifies an accepted event; receivers see it as webhook-id.
	EventID struct{ uuid uuid }
	// DeliveryID identifies what one event owes one webhook.
	DeliveryID struct{ uuid uuid }
)

const (
	webhookPrefix  = "whk_"
	eventPrefix    = "evt_"
	deliveryPrefix = "dlv_"
)

// NewWebhookID makes an id from the time and ten random bytes.
func NewWebhookID(now time.Time, random [10]byte) WebhookID { return WebhookID{newUUID(now, random)} }

// NewEventID makes an id from the time and ten random bytes.
func NewEventID(now time.Time, random [10]byte) EventID { return EventID{newUUID(now, random)} }

// DeliveryIDFor derives the id of the delivery that an event owes a webhook.
//
// It carries the event's millisecond and a digest of both ids, so that (event,
// webhook) is unique by primary key although deliveries are partitioned by
// time, and so that all rows of one event fall into the same partition range.
// The SQL function delivery_id does the same; a test holds the two together.
func DeliveryIDFor(e EventID, w WebhookID) DeliveryID {
	sum := sha256.Sum256(append(append([]byte{}, e.uuid[:]...), w.uuid[:]...))
	u := e.uuid
	copy(u[6:], sum[:10])
	return DeliveryID{u.stamped()}
}

func (id WebhookID) String() string  { return id.uuid.prefixed(webhookPrefix) }
func (id EventID) String() string    { return id.uuid.prefixed(eventPrefix) }
func (id DeliveryID) String() string { return id.uuid.prefixed(deliveryPrefix) }

// UUID returns the id as PostgreSQL knows it: canonical text, no prefix.
func (id WebhookID) UUID() string { return id.uuid.canonical() }

// UUID returns the id as PostgreSQL knows it: canonical text, no prefix.
func (id EventID) UUID() string { return id.uuid.canonical() }

// UUID returns the id as PostgreSQL knows it: canonical text, no prefix.
func (id DeliveryID) UUID() string { return id.uuid.canonical() }

// Time returns the millisecond in which the event was accepted.
func (id EventID) Time() time.Time { return id.uuid.time() }

// Time returns the millisecond in which the delivery's event was accepted.
func (id DeliveryID) Time() time.Time { return id.uuid.time() }

// IsZero reports whether the id was never set.
func (id WebhookID) IsZero() bool { return id.uuid == uuid{} }

// Hash spreads webhooks evenly over n buckets (n > 0), the same in every process.
func (id WebhookID) Hash(n int) int {
	// The last four bytes are random in a UUIDv7.
	u := id.uuid
	return int((uint32(u[12])<<24 | uint32(u[13])<<16 | uint32(u[14])<<8 | uint32(u[15])) % uint32(n)) //nolint:gosec // n is a small positive count
}

// ParseWebhookID reads the prefixed form.
func ParseWebhookID(s string) (WebhookID, error) {
	u, err := parsePrefixed(s, webhookPrefix)
	return WebhookID{u}, err
}

// ParseEventID reads the prefixed form.
func ParseEventID(s string) (EventID, error) {
	u, err := parsePrefixed(s, eventPrefix)
	return EventID{u}, err
}

// ParseDeliveryID reads the prefixed form.
func ParseDeliveryID(s string) (DeliveryID, error) {
	u, err := parsePrefixed(s, deliveryPrefix)
	return DeliveryID{u}, err
}

// WebhookIDFromUUID reads the form that PostgreSQL returns.
func WebhookIDFromUUID(s string) (WebhookID, error) {
	u, err := parseCanonical(s)
	return WebhookID{u}, err
}

// EventIDFromUUID reads the form that PostgreSQL returns.
func EventIDFromUUID(s string) (EventID, error) {
	u, err := parseCanonical(s)
	return EventID{u}, err
}

// DeliveryIDFromUUID reads the form that PostgreSQL returns.
func DeliveryIDFromUUID(s string) (DeliveryID, error) {
	u, err := parseCanonical(s)
	return DeliveryID{u}, err
}

// TimeFloorUUID returns the smallest id, in canonical form, of the millisecond
// of t: the bound of a time range in a table that is ordered by id. Times before
// 1970 count as 1970, where ids begin.
func TimeFloorUUID(t time.Time) string {
	if t.UnixMilli() < 0 {
		t = time.UnixMilli(0)
	}
	u := newUUID(t, [10]byte{})
	u[6], u[8] = 0, 0
	return u.canonical()
}

type uuid [16]byte

// newUUID follows RFC 9562, section 5.7: 48 bits of unix milliseconds, then random.
func newUUID(now time.Time, random [10]byte) uuid {
	var u uuid
	ms := now.UnixMilli()
	for i := range 6 {
		u[i] = byte(ms >> (40 - 8*i) & 0xff)
	}
	copy(u[6:], random[:])
	return u.stamped()
}

func (u uuid) stamped() uuid {
	u[6] = u[6]&0x0f | 0x70
	u[8] = u[8]&0x3f | 0x80
	return u
}

func (u uuid) time() time.Time {
	var ms int64
	for _, b := range u[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC()
}

func (u uuid) prefixed(prefix string) string {
	var buf [36]byte
	copy(buf[:4], prefix)
	hex.Encode(buf[4:], u[:])
	return string(buf[:])
}

func (u uuid) canonical() string {
	var buf [36]byte
	hex.Encode(buf[0:8], u[0:4])
	hex.Encode(buf[9:13], u[4:6])
	hex.Encode(buf[14:18], u[6:8])
	hex.Encode(buf[19:23], u[8:10])
	hex.Encode(buf[24:36], u[10:16])
	buf[8], buf[13], buf[18], buf[23] = '-', '-', '-', '-'
	return string(buf[:])
}

func parsePrefixed(s, prefix string) (uuid, error) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok || len(rest) != 32 || strings.ToLower(rest) != rest {
		return uuid{}, Invalid("id", "must be "+prefix+" and 32 lower-case hexadecimal digits")
	}
	var u uuid
	if _, err := hex.Decode(u[:], []byte(rest)); err != nil {
		return uuid{}, Invalid("id", "must be "+prefix+" and 32 lower-case hexadecimal digits")
	}
	return u, nil
}

func parseCanonical(s string) (uuid, error) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return uuid{}, Invalid("id", "must be a UUID")
	}
	var u uuid
	// Five parts: a sixth dash would make the digits too few.
	if n, err := hex.Decode(u[:], []byte(strings.ReplaceAll(s, "-", ""))); err != nil || n != len(u) {
		return uuid{}, Invalid("id", "must be a UUID")
	}
	return u, nil
}

// Compare orders ids as PostgreSQL does.
func (id DeliveryID) Compare(other DeliveryID) int {
	return bytes.Compare(id.uuid[:], other.uuid[:])
}
