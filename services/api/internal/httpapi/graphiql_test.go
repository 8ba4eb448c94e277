package httpapi_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestGraphiQL_servesEverythingThePageNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	page := b.do(t, http.MethodGet, "/", "", "Authorization:")
	if page.StatusCode != http.StatusOK || page.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", page.StatusCode, page.Header)
	}
	paths := map[string]string{
		"/graphiql/editor.worker.js": "text/javascript", "/graphiql/json.worker.js": "text/javascript", "/graphiql/graphql.worker.js": "text/javascript",
	}
	for _, match := range regexp.MustCompile(`(?:src|href)="(/[^"]+)"`).FindAllStringSubmatch(page.body, -1) {
		paths[match[1]] = ""
	}
	// Fonts that the style sheet does not hold itself, it names relative to itself.
	for part := range strings.SplitSeq(b.do(t, http.MethodGet, "/graphiql/app.css", "").body, `url("./`) {
		if name, _, ok := strings.Cut(part[:min(len(part), 50)], `"`); ok && strings.HasSuffix(name, ".ttf") {
			paths["/graphiql/"+name] = "font/ttf"
		}
	}
	if len(paths) != 6 {
		t.Errorf("the page names %v only", paths)
	}
	for path, mediaType := range paths {
		r := b.do(t, http.MethodGet, path, "", "Authorization:", "Accept-Encoding: gzip")
		if r.StatusCode != http.StatusOK || len(r.body) < 1000 || !strings.HasPrefix(r.Header.Get("Content-Type"), mediaType) {
			t.Errorf("%s: %d, %d bytes, %v", path, r.StatusCode, len(r.body), r.Header)
		}
	}
}

func TestGraphiQL_namesNoOtherHost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/", "/graphiql/app.css"} {
		body := b.do(t, http.MethodGet, path, "").body
		for _, outside := range []string{`="http`, `="//`, "@import", "url(http", `url("http`, "url(//", `url("//`} {
			if strings.Contains(body, outside) {
				t.Errorf("%s has %q", path, outside)
			}
		}
	}
	policy := b.do(t, http.MethodGet, "/", "").Header.Get("Content-Security-Policy")
	if strings.Contains(policy, "http") || strings.Contains(policy, "*") || strings.Contains(policy, "unsafe-eval") ||
		!strings.Contains(policy, "script-src 'self';") || !strings.Contains(policy, "connect-src 'self';") {
		t.Errorf("policy = %s", policy)
	}
}

func TestGraphiQL_isCachedByTag(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const path = "/graphiql/editor.worker.js"
	packed := b.do(t, http.MethodGet, path, "", "Accept-Encoding: gzip")
	if packed.Header.Get("Content-Encoding") != "gzip" || packed.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("header = %v", packed.Header)
	}
	again := b.do(t, http.MethodGet, path, "", "Accept-Encoding: gzip", "If-None-Match: "+packed.Header.Get("Etag"))
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("status = %d, want 304", again.StatusCode)
	}
	plain := b.do(t, http.MethodGet, path, "", "Accept-Encoding: identity")
	if plain.Header.Get("Content-Encoding") != "" || len(plain.body) < 2*len(packed.body) || plain.Header.Get("Etag") == packed.Header.Get("Etag") {
		t.Errorf("plain: %d bytes, header %v", len(plain.body), plain.Header)
	}
}
