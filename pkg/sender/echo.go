package sender

import (
	"strings"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	// minEcho is the shortest value that is looked for: what is shorter is found in
	// texts that have nothing to do with it, and is no secret to speak of.
	minEcho  = 8
	echoMask = "********"
)

// echoes are the values of credential-like custom headers. Receivers that answer
// with what they got, as debugging tools do, would make the log show them to
// whoever may read it.
type echoes []string

func echoesOf(custom []webhook.Header) (e echoes) {
	for _, h := range custom {
		if webhook.MaskHeader(h).Value == h.Value {
			continue
		}
		e = e.with(h.Value)
		if _, credentials, ok := strings.Cut(h.Value, " "); ok && !strings.Contains(credentials, " ") { // without its scheme, such as Bearer
			e = e.with(credentials)
		}
	}
	return e
}

func (e echoes) with(value string) echoes {
	if len(value) < minEcho {
		return e
	}
	return append(e, value)
}

// mask hides the values where they stand word for word.
func (e echoes) mask(text string) string {
	for _, value := range e {
		text = strings.ReplaceAll(text, value, echoMask)
	}
	return text
}

// maskCut is mask for a text whose end may have been cut off, in the middle of a
// value.
func (e echoes) maskCut(text string) string {
	text = e.mask(text)
	for _, value := range e {
		for n := min(len(value)-1, len(text)); n >= minEcho; n-- {
			if strings.HasSuffix(text, value[:n]) {
				text = text[:len(text)-n] + echoMask
				break
			}
		}
	}
	return text
}
