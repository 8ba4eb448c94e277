package graph

import (
	"encoding/json"
	"testing"
)

// FuzzTextSize: a text counts for what encoding/json makes of it, and a comma.
func FuzzTextSize(f *testing.F) {
	for _, seed := range []string{"", "plain", "<>&", "\"\\", "\x00\x1f\x7f\b\f\n\r\t\v", "\u2028\u2029", "\xff\xe2\x80", "\xe2\x80\xa8\xa8", "é😀\ufffd"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		written, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := textSize(s); got != len(written)+1 {
			t.Errorf("%q counts for %d, takes %d: %s", s, got, len(written)+1, written)
		}
		raw := json.RawMessage(`"` + s + `"`)
		if !json.Valid(raw) {
			return
		}
		if written, err = json.Marshal(raw); err != nil {
			t.Fatal(err)
		}
		if got := rawSize(raw); got != len(written) {
			t.Errorf("%s counts for %d, takes %d: %s", raw, got, len(written), written)
		}
	})
}
