package webhook_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// withHidden is a webhook at https://a.example/path with a hidden header, then
// one that is shown.
func withHidden(t *testing.T) webhook.Webhook {
	t.Helper()
	w := validWebhook(t)
	w.URL = "https://a.example/path"
	w.Headers = []webhook.Header{{Name: "Authorization", Value: "Bearer old"}, {Name: "X-Region", Value: "eu"}}
	return w
}

func TestChange_Apply_aMaskKeepsWhatItHides(t *testing.T) {
	t.Parallel()
	before := withHidden(t)
	mask := webhook.MaskHeader(before.Headers[0]).Value
	for name, tc := range map[string]struct{ in, want []webhook.Header }{
		"whatever the case": {
			[]webhook.Header{{Name: "authorization", Value: mask}}, []webhook.Header{{Name: "authorization", Value: "Bearer old"}},
		},
		"a new value replaces it": {
			[]webhook.Header{{Name: "Authorization", Value: "Bearer new"}}, []webhook.Header{{Name: "Authorization", Value: "Bearer new"}},
		},
		"none": {[]webhook.Header{}, []webhook.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := webhook.Change{Headers: &tc.in}.Apply(before, webhook.URLRules{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got.Headers); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	_, err := webhook.Change{Headers: &[]webhook.Header{{Name: "X-Api-Key", Value: mask}, {Name: "X-Region", Value: mask}}}.Apply(before, webhook.URLRules{})
	if diff := cmp.Diff([]string{"invalid headers.0.value", "invalid headers.1.value"}, fields(t, err)); diff != "" {
		t.Errorf("masks that hide nothing (-want +got)\n%s", diff)
	}
}

func TestI7_hiddenValuesDoNotMoveToAnotherOrigin(t *testing.T) {
	t.Parallel()
	before := withHidden(t)
	mask := webhook.MaskHeader(before.Headers[0]).Value
	kept := []webhook.Header{{Name: "X-Region", Value: "eu"}, {Name: "authorization", Value: mask}}
	given := []webhook.Header{{Name: "X-Region", Value: "eu"}, {Name: "Authorization", Value: "Bearer old"}}
	const anew = ": must be given anew when the URL leads to another host, port or scheme"
	for name, tc := range map[string]struct {
		url     string
		headers *[]webhook.Header
		want    []string
	}{
		"host, headers left alone":    {"https://b.example/path", nil, []string{"invalid headers" + anew}},
		"host, the mask given back":   {"https://b.example/path", &kept, []string{"invalid headers.1.value" + anew}},
		"subdomain":                   {"https://www.a.example/path", nil, []string{"invalid headers" + anew}},
		"port":                        {"https://a.example:8443/path", nil, []string{"invalid headers" + anew}},
		"scheme":                      {"http://a.example/path", nil, []string{"invalid headers" + anew}},
		"scheme, but the same port":   {"http://a.example:443/path", nil, []string{"invalid headers" + anew}},
		"host, a new value":           {"https://b.example/path", &given, nil},
		"host, none of them":          {"https://b.example/path", &[]webhook.Header{}, nil},
		"path and query":              {"https://a.example/other?x=1", nil, nil},
		"path, the mask given back":   {"https://a.example/other", &kept, nil},
		"the same, spelt differently": {"HTTPS://A.example.:443/path", nil, nil},
		"no URL":                      {"https://", nil, []string{"invalid url: must name a host"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := webhook.Change{URL: &tc.url, Headers: tc.headers}.Apply(before, webhook.URLRules{AllowHTTP: true})
			if diff := cmp.Diff(tc.want, faults(t, err)); diff != "" {
				t.Errorf("faults (-want +got)\n%s", diff)
			}
		})
	}

	shown := before
	shown.Headers = before.Headers[1:]
	if _, err := (webhook.Change{URL: ptr("https://b.example")}).Apply(shown, webhook.URLRules{}); err != nil {
		t.Errorf("moving without anything hidden: %v", err)
	}
	unreadable := before
	unreadable.URL = "https://a.example:x/"
	if _, err := (webhook.Change{URL: ptr("https://a.example/")}).Apply(unreadable, webhook.URLRules{}); err == nil {
		t.Error("moved hidden values from a URL that nobody can read")
	}
}
