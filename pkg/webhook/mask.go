package webhook

import "strings"

// KeepMasked returns headers in which a mask stands for the value that it hid in
// old, so that a client may give back what it was shown. A mask that hid nothing
// stays, for ParseHeaders to refuse.
func KeepMasked(headers, old []Header) []Header {
	hidden := make(map[string]string, len(old))
	for _, h := range old {
		if MaskHeader(h).Value == maskedValue {
			hidden[strings.ToLower(h.Name)] = h.Value
		}
	}
	out := make([]Header, len(headers))
	for i, h := range headers {
		if value, ok := hidden[strings.ToLower(h.Name)]; ok && h.Value == maskedValue {
			h.Value = value
		}
		out[i] = h
	}
	return out
}
