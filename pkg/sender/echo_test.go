package sender

import (
	"net/http"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func TestEchoes(t *testing.T) {
	t.Parallel()
	e := echoesOf([]webhook.Header{
		{Name: "Authorization", Value: "Bearer abcdefghijkl"}, {Name: "X-Api-Key", Value: "mnopqrstuvwx"},
		{Name: "X-Pin-Token", Value: "1234567"}, {Name: "X-Team", Value: "sales and marketing"},
	})
	for text, want := range map[string]string{
		"":                                 "",
		"sales and marketing, pin 1234567": "sales and marketing, pin 1234567", // no credential, and too short to look for
		`{"Authorization":"Bearer abcdefghijkl"}`: `{"Authorization":"********"}`,
		"abcdefghijklmnopqrstuvwxabcdefghijkl":    "************************",
		"key=mnopqrst":                            "key=********", // cut off there
		"key=mnopqrs":                             "key=mnopqrs",
		"you sent Bearer abcdefghij":              "you sent ********",
		"mnopqrst at the start":                   "mnopqrst at the start",
	} {
		if got := e.maskCut(text); got != want {
			t.Errorf("%q is kept as %q, want %q", text, got, want)
		}
	}
	fields := responseFields(http.Header{"X-Echo": {strings.Repeat("x", maxFieldValueBytes-8) + "mnopqrstuvwx"}}, e)
	if value := fields[0].Value; len(value) != maxFieldValueBytes || !strings.HasSuffix(value, "x********") {
		t.Errorf("a long header is kept as ...%q", value[len(value)-20:])
	}
	if got := echoesOf(nil).maskCut("text"); got != "text" {
		t.Errorf("without headers: %q", got)
	}
}
