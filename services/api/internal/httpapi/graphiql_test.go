package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
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

// discarded is an answer that nobody keeps.
type discarded struct{ header http.Header }

func (d discarded) Header() http.Header         { return d.header }
func (d discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d discarded) WriteHeader(int)             {}

// Whoever asks needs no token: a request must not cost what unpacking costs.
//
//nolint:paralleltest // it counts what the process allocates
func TestGraphiQL_unpacksOnce(t *testing.T) {
	b := setup(t)
	const path = "/graphiql/app.js"
	tag := b.do(t, http.MethodHead, path, "", "Accept-Encoding: identity").Header.Get("Etag")
	ask := func(method, match string) {
		r := httptest.NewRequestWithContext(t.Context(), method, path, nil)
		r.Header.Set("If-None-Match", match)
		b.Config.Handler.ServeHTTP(discarded{http.Header{}}, r)
	}
	allocated := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 20 {
			f()
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	const unpacking = 5 << 20 // bytes, at least
	for name, request := range map[string]func(){
		"a header":             func() { ask(http.MethodHead, "") },
		"what has not changed": func() { ask(http.MethodGet, tag) },
	} {
		if n := allocated(request); n > unpacking {
			t.Errorf("asked 20 times for %s, it allocated %d bytes", name, n)
		}
	}
	ask(http.MethodGet, "")
	if n := allocated(func() { ask(http.MethodGet, "") }); n > unpacking {
		t.Errorf("asked 20 times for the file after the first time, it allocated %d bytes", n)
	}
}

func TestGraphiQL_partsAndSizesOfWhatIsUnpacked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const path = "/graphiql/app.css"
	plain := b.do(t, http.MethodGet, path, "", "Accept-Encoding: identity")
	if head := b.do(t, http.MethodHead, path, "", "Accept-Encoding: identity"); head.ContentLength != int64(len(plain.body)) {
		t.Errorf("HEAD says %d bytes, GET sends %d", head.ContentLength, len(plain.body))
	}
	part := b.do(t, http.MethodGet, path, "", "Accept-Encoding: identity", "Range: bytes=1000-1999")
	if part.StatusCode != http.StatusPartialContent || part.body != plain.body[1000:2000] {
		t.Errorf("a part: %d, %d bytes", part.StatusCode, len(part.body))
	}
}
