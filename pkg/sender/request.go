package sender

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/signature"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// ownHeaders is how many headers build sets itself.
const ownHeaders = 9

// build makes the request and the record of its headers. A fault is a readable
// reason why there can be no request.
func (s *Sender) build(ctx context.Context, r Request, now time.Time) (*http.Request, []webhook.Field, string) {
	// A strings.Reader, which net/http knows: the body goes out with the headers
	// in one write, and again (GetBody) when a kept connection turns out to be
	// closed before a byte was written.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, strings.NewReader(r.Body))
	if err != nil || req.URL.Host == "" || req.URL.Scheme != "https" && req.URL.Scheme != "http" {
		return nil, nil, "the webhook's URL is not a valid http or https URL"
	}
	if req.URL.User != nil {
		return nil, nil, "the webhook's URL contains credentials"
	}
	keys := liveKeys(r.Secrets, now)
	if len(keys) == 0 {
		return nil, nil, "the webhook has no valid signing secret"
	}
	h := newHeaders(ownHeaders + len(r.Headers))
	h.addCustom(r.Headers)
	// Lower case, as the specifications have them. Content-Type and User-Agent in
	// canonical form, because net/http looks for them.
	id := r.Event.String()
	h.add("Content-Type", "application/json")
	h.add("User-Agent", s.userAgent)
	h.add(signature.HeaderID, id)
	h.add(signature.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	h.add(signature.HeaderSignature, signature.Header(keys, id, now, r.Body))
	h.add("Crm-Delivery-Id", r.Delivery.String())
	h.add("Crm-Attempt", strconv.Itoa(r.Attempt))
	h.add("Crm-Event-Type", r.EventType.String())
	h.add("traceparent", childSpan(r.TraceParent))
	req.Header = h.sent
	return req, h.recorded, ""
}

func liveKeys(secrets []webhook.SigningSecret, now time.Time) [][]byte {
	keys := make([][]byte, 0, len(secrets))
	for _, secret := range webhook.Live(secrets, now) {
		if key := secret.Key(); len(key) > 0 {
			keys = append(keys, key)
		}
	}
	return keys
}

// headers collects what is sent and, in the same order, what is recorded.
type headers struct {
	sent     http.Header
	values   []string // backs the values of sent
	recorded []webhook.Field
}

func newHeaders(n int) *headers {
	return &headers{
		sent:     make(http.Header, n),
		values:   make([]string, 0, n),
		recorded: make([]webhook.Field, 0, n),
	}
}

func (h *headers) add(name, value string) {
	h.put(name, value)
	h.recorded = append(h.recorded, webhook.Field{Name: name, Value: value})
}

func (h *headers) put(name, value string) {
	i := len(h.values)
	h.values = append(h.values, value)
	h.sent[name] = h.values[i : i+1 : i+1]
}

// addCustom skips names that are ours or frame the request. They were refused
// when the webhook was written; this is for rows written under older rules.
func (h *headers) addCustom(custom []webhook.Header) {
	for _, c := range custom {
		if webhook.ReservedHeader(c.Name) {
			continue
		}
		h.put(wireName(c.Name), c.Value)
		h.recorded = append(h.recorded, webhook.MaskHeader(c))
	}
}

// wireName returns name as it was given, but for two names that net/http looks
// for in canonical form: they would tell it that it may send the request twice.
func wireName(name string) string {
	switch lower := strings.ToLower(name); lower {
	case "idempotency-key", "x-idempotency-key":
		return lower
	default:
		return name
	}
}
