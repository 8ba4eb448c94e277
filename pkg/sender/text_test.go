package sender

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"plain", 10, "plain"},
		{"a\x00b\x00", 10, "ab"},
		{"caf\xe9!", 10, "caf\uFFFD!"},
		{"\xff\xfe\xfd.", 10, "\uFFFD."},
		{"été", 10, "été"},
		{"été", 4, "ét"},
		{"éé", 3, "é"},
		{"x\xc3", 10, "x"},                 // a character that the limit on reading cut
		{"x\xf0\x9f\x98", 10, "x"},         // three bytes of four
		{"x\xed\xa0\x80y", 20, "x\uFFFDy"}, // a lone surrogate
		{"\xe9\xe9\xe9\xe9.", 3, "\uFFFD"},
		{"😀", 3, ""},
	} {
		if got := clean(tc.in, tc.limit); got != tc.want {
			t.Errorf("clean(%q, %d) = %q, want %q", tc.in, tc.limit, got, tc.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("caf\xe9\x00", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit &= 0xff
		got := clean(s, limit)
		if !utf8.ValidString(got) || strings.Contains(got, "\x00") || len(got) > limit {
			t.Errorf("clean(%q, %d) = %q", s, limit, got)
		}
	})
}

func TestResponseFields_bounded(t *testing.T) {
	t.Parallel()
	many, large := http.Header{}, http.Header{}
	for i := range 100 {
		many.Add("X-"+strconv.Itoa(i), "x")
		large.Add("X-"+strconv.Itoa(i), strings.Repeat("x", 3000))
	}
	if got := len(responseFields(many, nil)); got != 50 {
		t.Errorf("%d of 100 headers kept, want 50", got)
	}
	if got := len(responseFields(large, nil)); got != 7 {
		t.Errorf("%d headers of 1 KiB kept, want 7 to stay within 8 KiB", got)
	}
	masked := responseFields(http.Header{"Set-Cookie": {"session=1"}, "Www-Authenticate": {"Basic"}, "Date": {"today"}}, nil)
	if masked[0].Name != "Date" || masked[0].Value != "today" || strings.Contains(masked[1].Value, "session") {
		t.Errorf("fields = %v, want them sorted and credentials masked", masked)
	}
}

func TestChildSpan(t *testing.T) {
	t.Parallel()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	child, again := childSpan(parent), childSpan(parent)
	if !validTraceParent(child) || child[:36] != parent[:36] || child[52:] != parent[52:] || child[36:52] == parent[36:52] || child == again {
		t.Errorf("children of %s: %s and %s", parent, child, again)
	}
	for _, bad := range []string{
		"", "rubbish", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", strings.ToUpper(parent), parent + "-x",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331\r\nx",
	} {
		got := childSpan(bad)
		if !validTraceParent(got) || !strings.HasSuffix(got, "-00") {
			t.Errorf("childSpan(%q) = %q, want a new trace that is not sampled", bad, got)
		}
	}
}
