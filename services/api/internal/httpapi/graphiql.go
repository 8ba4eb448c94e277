package httpapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
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
	mux.Handle("GET /{$}", file{name: "index.html", tag: entityTag(page), stored: bytes.NewReader(page), size: int64(len(page))})
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
		f := compressedFile(strings.TrimSuffix(entry.Name(), ".gz"), content)
		mux.Handle("GET /graphiql/"+f.name, f)
	}
	return nil
}

func entityTag(content []byte) string {
	sum := sha256.Sum256(content)
	return `"` + hex.EncodeToString(sum[:8]) + `"`
}

// file is one file from the binary.
type file struct {
	name   string
	tag    string
	stored io.ReaderAt
	size   int64
	// plain is there when what is stored is compressed.
	plain     io.ReaderAt
	plainSize int64
}

func compressedFile(name string, content []byte) file {
	return file{
		name: name, tag: entityTag(content), stored: bytes.NewReader(content), size: int64(len(content)),
		plain:     unpacked{sync.OnceValue(func() *bytes.Reader { return bytes.NewReader(decompressed(content)) })},
		plainSize: int64(binary.LittleEndian.Uint32(content[len(content)-4:])), // RFC 1952: ISIZE, its last field
	}
}

func (f file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", graphiqlPolicy)
	h.Set("Cache-Control", "no-cache") // keep it, but ask whether it is still the one
	h.Set("Content-Type", contentType(f.name))
	h.Set("Etag", f.tag)
	content := io.NewSectionReader(f.stored, 0, f.size)
	if f.plain != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r) {
			h.Set("Content-Encoding", "gzip")
		} else {
			content = io.NewSectionReader(f.plain, 0, f.plainSize)
			h.Set("Etag", "W/"+f.tag)
		}
	}
	http.ServeContent(w, r, f.name, time.Time{}, content)
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

// unpacked is for the rare client that takes no gzip. It is made by the first one
// who reads: nobody needs a token to ask, and asking for a header or for what has
// not changed reads nothing.
type unpacked struct{ content func() *bytes.Reader }

// ReadAt unpacks when it is first called.
func (u unpacked) ReadAt(p []byte, off int64) (int, error) { return u.content().ReadAt(p, off) }

// decompressed trusts content: it comes from this binary.
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
