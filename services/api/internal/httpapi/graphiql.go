package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed graphiql/index.html graphiql/dist/*.gz
var graphiqlFiles embed.FS

// graphiqlPolicy lets the page load what this server has and nothing else.
// Monaco makes style elements as it goes, hence the inline styles.
const graphiqlPolicy = "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; " +
	"style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// addGraphiQL serves the page at / and its files under /graphiql/.
func addGraphiQL(mux *http.ServeMux) error {
	page, err := graphiqlFiles.ReadFile("graphiql/index.html")
	if err != nil {
		return fmt.Errorf("httpapi: reading GraphiQL: %w", err)
	}
	mux.Handle("GET /{$}", file{name: "index.html", content: page, tag: entityTag(page)})
	const dist = "graphiql/dist"
	entries, err := graphiqlFiles.ReadDir(dist)
	if err != nil {
		return fmt.Errorf("httpapi: reading GraphiQL: %w", err)
	}
	for _, entry := range entries {
		content, err := graphiqlFiles.ReadFile(path.Join(dist, entry.Name()))
		if err != nil {
			return fmt.Errorf("httpapi: reading GraphiQL: %w", err)
		}
		name := strings.TrimSuffix(entry.Name(), ".gz")
		mux.Handle("GET /graphiql/"+name, file{name: name, content: content, tag: entityTag(content), compressed: true})
	}
	return nil
}

func entityTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// file is one file from the binary.
type file struct {
	name       string
	content    []byte
	tag        string
	compressed bool
}

func (f file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", graphiqlPolicy)
	h.Set("Cache-Control", "no-cache") // keep it, but ask whether it is still the one
	h.Set("Content-Type", contentType(f.name))
	h.Set("Etag", f.tag)
	content := f.content
	if f.compressed {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
		} else {
			content = decompressed(content)
			h.Set("Etag", "W/"+f.tag)
		}
	}
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(content))
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".ttf":
		return "font/ttf"
	default:
		return mime.TypeByExtension(path.Ext(name)) // .html and .css are built in
	}
}

// decompressed is for the rare client that takes no gzip. The content comes
// from this binary: it is valid.
func decompressed(content []byte) []byte {
	reader, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		return nil
	}
	return plain
}
