package audits

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func answer(status int, mediaType, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {mediaType}}, Body: io.NopCloser(strings.NewReader(body)),
	}
}

// Audits that find nothing wrong with wrong answers would pass everything.
func TestCheck_findsFaults(t *testing.T) {
	t.Parallel()
	const data, failed = `{"data":{"__typename":"Query"}}`, `{"errors":[{"message":"m"}]}`
	for _, a := range All() {
		mediaType := "application/json; charset=utf-8"
		if a.media != "" {
			mediaType = a.media + "; charset=utf-8"
		}
		right := data
		if a.noData {
			right = failed
		}
		if err := a.Check(answer(a.status[0], mediaType, right)); err != nil {
			t.Errorf("%s: the right answer: %v", a.ID, err)
		}
		for name, wrong := range map[string]*http.Response{
			"a greater status":        answer(a.status[1]+1, mediaType, right),
			"a smaller status":        answer(a.status[0]-1, mediaType, right),
			"another type":            answer(a.status[0], "text/html; charset=utf-8", right),
			"no charset":              answer(a.status[0], "application/json", right),
			"no JSON":                 answer(a.status[0], mediaType, "OK"),
			"bytes that are no UTF-8": answer(a.status[0], mediaType, `{"data":"`+"\xff"+`"}`),
			"an error":                answer(a.status[0], mediaType, failed),
			"data":                    answer(a.status[0], mediaType, data),
		} {
			wanted := name == "an error" && !a.clean || name == "data" && !a.noData || name == "another type" && a.media == ""
			if err := a.Check(wrong); (err == nil) != wanted {
				t.Errorf("%s: %s: %v", a.ID, name, err)
			}
		}
	}
}
