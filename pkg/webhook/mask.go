package webhook

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// givenAnew is about values that were shown to nobody since they were given.
const givenAnew = "must be given anew when the URL leads to another host, port or scheme"

// applyHeaders puts the value that a mask hides into its place, so that a client
// may give back what it was shown.
//
// Hidden values do not move to another origin, by a mask or by being left alone:
// who may change a URL would have them sent to a receiver of their own (I7).
func (c Change) applyHeaders(s *Settings, before Webhook, faults *Errors) {
	moves := c.URL != nil && s.URL != "" && !sameOrigin(s.URL, before.URL)
	if c.Headers == nil {
		if moves && slices.ContainsFunc(before.Headers, Header.hidden) {
			faults.add(Invalid("headers", givenAnew))
		}
		return
	}
	headers, kept := keepMasked(*c.Headers, before.Headers)
	s.setHeaders(headers, faults)
	if !moves {
		return
	}
	for _, i := range kept {
		faults.add(Invalid("headers."+strconv.Itoa(i)+".value", givenAnew))
	}
}

// keepMasked returns headers in which a mask stands for the value that it hid in
// old, and the indices of those. A mask that hid nothing stays, for ParseHeaders
// to refuse.
func keepMasked(headers, old []Header) (out []Header, kept []int) {
	values := make(map[string]string, len(old))
	for _, h := range old {
		if h.hidden() {
			values[strings.ToLower(h.Name)] = h.Value
		}
	}
	out = slices.Clone(headers)
	for i, h := range headers {
		if value, ok := values[strings.ToLower(h.Name)]; ok && h.Value == maskedValue {
			out[i].Value = value
			kept = append(kept, i)
		}
	}
	return out, kept
}

// sameOrigin compares URLs in normal form. One that cannot be read is nobody's.
func sameOrigin(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Scheme == y.Scheme && x.Host == y.Host
}
