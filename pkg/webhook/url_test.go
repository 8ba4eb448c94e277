package webhook_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func devRules() webhook.URLRules {
	return webhook.URLRules{AllowHTTP: true, AllowedNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
}

func TestURLRules_Parse_normalises(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://example.com/hooks":                       "https://example.com/hooks",
		"https://example.com":                             "https://example.com",
		"https://example.com/":                            "https://example.com/",
		"HTTPS://EXAMPLE.Com/Hooks?A=b":                   "https://example.com/Hooks?A=b",
		"https://example.com:443/a":                       "https://example.com/a",
		"https://example.com:0443/a":                      "https://example.com/a",
		"https://example.com:/a":                          "https://example.com/a",
		"https://example.com:80/a":                        "https://example.com:80/a",
		"https://example.com:8443/a":                      "https://example.com:8443/a",
		"https://example.com./a":                          "https://example.com/a",
		"https://example.com/a?":                          "https://example.com/a?",
		"https://example.com/a%20b%2Fc?d=%25":             "https://example.com/a%20b%2Fc?d=%25",
		"https://example.com/~u/@x;y=1":                   "https://example.com/~u/@x;y=1",
		"https://xn--bcher-kva.example/a":                 "https://xn--bcher-kva.example/a",
		"https://my_host.example":                         "https://my_host.example",
		"https://3com.example":                            "https://3com.example",
		"https://a.0xyz":                                  "https://a.0xyz",
		"https://8.8.8.8/a":                               "https://8.8.8.8/a",
		"https://[2606:4700:4700::1111]/a":                "https://[2606:4700:4700::1111]/a",
		"https://[2606:4700:4700:0:0::1111]":              "https://[2606:4700:4700::1111]",
		"https://[::ffff:8.8.8.8]:8443/a":                 "https://8.8.8.8:8443/a",
		"https://" + strings.Repeat("a", 63) + ".example": "https://" + strings.Repeat("a", 63) + ".example",
		longText("https://example.com/", 2048):            longText("https://example.com/", 2048),
	} {
		got, err := (webhook.URLRules{}).Parse(raw)
		if err != nil || got != want {
			t.Errorf("URL %q = %q, %v, want %q", raw, got, err, want)
		}
		if again, err := (webhook.URLRules{}).Parse(got); err != nil || again != got {
			t.Errorf("normal form %q becomes %q, %v", got, again, err)
		}
	}
	for raw, want := range map[string]string{
		"http://example.com:80/a":   "http://example.com/a",
		"http://example.com:443/a":  "http://example.com:443/a",
		"http://127.0.0.1:34567/a":  "http://127.0.0.1:34567/a",
		"http://LOCALHOST:8080/a":   "http://localhost:8080/a",
		"https://app.localhost:444": "https://app.localhost:444",
		"http://[::ffff:127.0.0.1]": "http://127.0.0.1",
		"http://receiver:8082/":     "http://receiver:8082/",
	} {
		if got, err := devRules().Parse(raw); err != nil || got != want {
			t.Errorf("URL %q with development rules = %q, %v, want %q", raw, got, err, want)
		}
	}
}

func TestURLRules_Parse_refuses(t *testing.T) {
	t.Parallel()
	const (
		empty       = "must not be empty"
		tooLong     = "must have at most 2048 characters"
		notASCII    = "must consist of printable ASCII characters without spaces; write other characters percent-encoded, and host names as xn--"
		scheme      = "must start with https://"
		credentials = "must not contain credentials; use a header"
		fragment    = "must not contain a fragment"
		noHost      = "must name a host"
		badHost     = "must name a valid host"
		private     = "must not lead to a private or reserved address"
		spelling    = "must spell an address as four decimal numbers or as IPv6 without a zone"
		noDomain    = "must name a host with its domain, such as hooks.example.com"
		malformed   = "must be a valid URL"
		portRange   = "must have a port between 1 and 65535"
	)
	for raw, want := range map[string]string{
		"":                                     empty,
		longText("https://example.com/", 2049): tooLong,
		// Escaping lengthens.
		longText("https://example.com/", 2046) + "|^": tooLong,

		" https://example.com":         notASCII,
		"https://example.com ":         notASCII,
		"https://example.com/a b":      notASCII,
		"https://example.com/\x00":     notASCII,
		"https://example.com/\r\nX: y": notASCII,
		"https://example.com/\x7f":     notASCII,
		"https://exämple.com":          notASCII,
		"https://①②⑦.0.0.1":            notASCII,
		"https://example。com":          notASCII,
		"https://example.com/\xff":     notASCII,
		`https://example.com\@evil`:    "must not contain a backslash",
		`https:\\example.com`:          "must not contain a backslash",

		"http://example.com":       scheme,
		"ftp://example.com":        scheme,
		"file:///etc/passwd":       scheme,
		"javascript:alert(1)":      scheme,
		"gopher://example.com:70/": scheme,
		"//example.com/a":          scheme,
		"/hooks":                   scheme,
		"example.com":              scheme,
		"example.com/hooks":        scheme,
		"unix://socket":            scheme,
		"example.com:443":          scheme,

		"https://user:pw@example.com": credentials,
		"https://user@example.com":    credentials,
		"https://:@example.com":       credentials,
		"https://@example.com":        credentials,
		"https://example.com/#a":      fragment,
		"https://example.com/#":       fragment,

		"https://":              noHost,
		"https:":                noHost,
		"https:example.com":     noHost,
		"https:///hooks":        noHost,
		"https://:8443/hooks":   noHost,
		"https://?a":            noHost,
		"https://.":             noHost,
		"https://..":            badHost,
		"https://a..b":          badHost,
		"https://.example.com":  badHost,
		"https://-a.example":    badHost,
		"https://a-.example":    badHost,
		"https://a,b.example":   badHost,
		"https://*.example.com": badHost,
		"https://" + strings.Repeat("a", 64) + ".example": badHost,
		"https://" + strings.Repeat("a.", 127) + "a":      badHost,

		"https://example.com:0":                    "must not use port 0, which belongs to another protocol",
		"https://example.com:22":                   "must not use port 22, which belongs to another protocol",
		"https://example.com:025/":                 "must not use port 25, which belongs to another protocol",
		"https://example.com:6667":                 "must not use port 6667, which belongs to another protocol",
		"https://example.com:10080":                "must not use port 10080, which belongs to another protocol",
		"https://example.com:65536":                portRange,
		"https://example.com:999999":               portRange,
		"https://example.com:99999999999999999999": portRange,
		"https://example.com:-1":                   malformed,
		"https://example.com:80a":                  malformed,
		"https://example.com:1:2":                  malformed,
		"https://example.com/%zz":                  malformed,
		"https://%31%32%37.0.0.1":                  malformed,
		"https://[::1":                             malformed,
		"https://ex%00ample.com":                   malformed,

		"https://127.0.0.1":              private,
		"https://10.1.2.3/a":             private,
		"https://169.254.169.254/latest": private,
		"https://0.0.0.0":                private,
		"https://192.168.0.1:8443":       private,
		"https://255.255.255.255":        private,
		"https://[::1]":                  private,
		"https://[::]":                   private,
		"https://[::ffff:127.0.0.1]":     private,
		"https://[::ffff:7f00:1]":        private,
		"https://[::127.0.0.1]":          private,
		"https://[64:ff9b::7f00:1]":      private,
		"https://[2002:7f00:1::]":        private,
		"https://[fe80::1]":              private,
		"https://[fd00::1]":              private,
		"https://localhost":              private,
		"https://LOCALHOST.:8443":        private,
		"https://a.b.localhost":          private,

		"https://redis":          noDomain,
		"https://Redis.:6380/a":  noDomain,
		"https://receiver/hooks": noDomain,

		"https://127.1":              spelling,
		"https://2130706433":         spelling,
		"https://0x7f000001":         spelling,
		"https://0X7F.0.0.1":         spelling,
		"https://0x":                 spelling,
		"https://017700000001":       spelling,
		"https://0177.0.0.1":         spelling,
		"https://127.0.0.01":         spelling,
		"https://127.0.0.0x1":        spelling,
		"https://127.0.0.1.":         spelling,
		"https://1.2.3.4.5":          spelling,
		"https://256.1.1.1":          spelling,
		"https://example.123":        spelling,
		"https://[fe80::1%25lo]":     spelling,
		"https://[2606:4700::1%25x]": spelling,
		"https://[12345::1]":         malformed,
		"https://[::1.2.3]":          malformed,
	} {
		got, err := (webhook.URLRules{}).Parse(raw)
		if got != "" || err == nil {
			t.Errorf("URL %q = %q, want the error %q", raw, got, want)
			continue
		}
		if fault := strings.Join(faults(t, err), "; "); fault != "invalid url: "+want {
			t.Errorf("URL %q: %q, want %q", raw, fault, want)
		}
	}
}

func TestURLRules_Parse_rulesOfTheInstallation(t *testing.T) {
	t.Parallel()
	ipv6 := webhook.URLRules{AllowedNetworks: []netip.Prefix{netip.MustParsePrefix("::1/128")}}
	for _, tc := range []struct {
		rules webhook.URLRules
		raw   string
		want  string
	}{
		{webhook.URLRules{AllowHTTP: true}, "http://example.com", ""},
		{webhook.URLRules{AllowHTTP: true}, "ws://example.com", "url must start with https:// or http://"},
		{webhook.URLRules{AllowHTTP: true}, "http://127.0.0.1", "url must not lead to a private or reserved address"},
		{devRules(), "http://10.0.0.1", "url must not lead to a private or reserved address"},
		{devRules(), "http://[::1]", "url must not lead to a private or reserved address"},
		{devRules(), "http://localhost", ""},
		{ipv6, "https://localhost", ""},
		{ipv6, "https://[::1]:8443", ""},
		{ipv6, "https://127.0.0.1", "url must not lead to a private or reserved address"},
	} {
		_, err := tc.rules.Parse(tc.raw)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("URL %s under %+v: %q, want %q", tc.raw, tc.rules, got, tc.want)
		}
	}
}
