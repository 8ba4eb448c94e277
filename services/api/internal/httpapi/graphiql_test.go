package httpapi_test

import (
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
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

// The page's script is built by Node, which CI has not: what is served must at
// least be what build.mjs made, of the sources that are here. make graphiql-check
// builds it anew.
func TestGenerated_graphiQLIsWhatWasBuiltFromItsSources(t *testing.T) {
	t.Parallel()
	folder := os.DirFS("graphiql")
	text, err := fs.ReadFile(folder, "manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct{ Inputs, Outputs map[string]string }
	if err := json.Unmarshal(text, &manifest); err != nil {
		t.Fatal(err)
	}
	const mend = "(in services/api/internal/httpapi/graphiql: npm ci --ignore-scripts && npm run build)"
	if diff := cmp.Diff(manifest.Inputs, sums(t, folder, "build.mjs", "package*.json", "src/*")); diff != "" {
		t.Errorf("sources of GraphiQL changed since it was built %s\n(-built +here)\n%s", mend, diff)
	}
	if diff := cmp.Diff(manifest.Outputs, sums(t, folder, "dist/*", "LICENSES.txt")); diff != "" {
		t.Errorf("files of GraphiQL are not those that were built %s\n(-built +here)\n%s", mend, diff)
	}
}

// sums maps the files that match to the SHA-256 of their contents, uncompressed.
func sums(t *testing.T, folder fs.FS, patterns ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range patterns {
		names, err := fs.Glob(folder, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			out[name] = sum(t, folder, name)
		}
	}
	return out
}

func sum(t *testing.T, folder fs.FS, name string) string {
	t.Helper()
	file, err := folder.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var content io.Reader = file
	if path.Ext(name) == ".gz" {
		if content, err = gzip.NewReader(file); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, content); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
