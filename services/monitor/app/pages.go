package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// pages serves asynqmon with its page made self-contained.
type pages struct {
	mon     http.Handler
	before  []byte // the page up to where the style nonce goes
	after   []byte // and from there to its end
	end     []byte
	scripts string // the page's inline scripts, as a policy names them
}

const head = "<head>"

// newPages asks asynqmon for its page once and refuses to start with one that
// would make a browser ask another host.
func newPages(ctx context.Context, mon http.Handler) (*pages, error) {
	raw, err := fetchPage(ctx, mon)
	if err != nil {
		return nil, err
	}
	page := selfContained(raw)
	if outside := regexp.MustCompile(`(?:src|href)="(?:[a-z]+:)?//[^"]*"`).Find(page); outside != nil {
		return nil, fmt.Errorf("it refers to another host: %s", outside)
	}
	before, after, found := bytes.Cut(page, []byte(head))
	if !found {
		return nil, errors.New("it has no head")
	}
	p := &pages{mon: mon, before: append(before, head...), after: after}
	if at := bytes.LastIndex(after, []byte("</body>")); at >= 0 {
		p.after, p.end = after[:at], after[at:]
	}
	inline := regexp.MustCompile(`(?s)<script>(.*?)</script>`)
	for _, script := range inline.FindAllSubmatch(page, -1) {
		sum := sha256.Sum256(script[1])
		p.scripts += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return p, nil
}

// selfContained removes the web fonts, for which the page has substitutes, and
// the manifest, which browsers fetch without the login.
func selfContained(page []byte) []byte {
	links := regexp.MustCompile(`<link [^>]*(?:rel="manifest"|href="https?://)[^>]*>`)
	page = links.ReplaceAll(page, nil)
	return bytes.Replace(page, []byte("<title>Asynq - Monitoring</title>"), []byte("<title>crm-webhooks queues</title>"), 1)
}

func fetchPage(ctx context.Context, mon http.Handler) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return nil, fmt.Errorf("asking for it: %w", err)
	}
	w := &capture{header: make(http.Header)}
	mon.ServeHTTP(w, r)
	if w.status != http.StatusOK || !bytes.Contains(w.body.Bytes(), []byte("<html")) {
		return nil, fmt.Errorf("got status %d and %d bytes", w.status, w.body.Len())
	}
	return w.body.Bytes(), nil
}

// ServeHTTP lets asynqmon answer, and puts our page where it sends its own,
// which it does for every path that it does not know.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Vary", "Authorization, Cookie")
	if strings.HasPrefix(r.URL.Path, "/api/") {
		p.mon.ServeHTTP(&apiWriter{ResponseWriter: w}, r)
		return
	}
	file := &capture{header: make(http.Header)}
	p.mon.ServeHTTP(file, r)
	contentType := file.header.Get("Content-Type")
	if file.status == http.StatusOK && (contentType == "" || strings.HasPrefix(contentType, "text/html")) {
		p.servePage(w, tokenOf(r) != "")
		return
	}
	if path.Ext(r.URL.Path) == ".svg" {
		contentType = "image/svg+xml" // asynqmon guesses, and browsers are told not to
	}
	w.Header().Set("Content-Type", contentType)
	if file.status == http.StatusOK && strings.HasPrefix(r.URL.Path, "/static/") {
		w.Header().Set("Cache-Control", "private, max-age=31536000, immutable") // names hold hashes
	}
	w.WriteHeader(file.status)
	_, _ = w.Write(file.body.Bytes())
}

// servePage sends the page under a policy that allows its own scripts, the
// styles that they make, and requests to this host only.
func (p *pages) servePage(w http.ResponseWriter, session bool) {
	nonce := rand.Text()
	w.Header().Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'", "script-src 'self'" + p.scripts, "style-src 'self' 'nonce-" + nonce + "'",
		"img-src 'self' data:", "font-src 'self'", "connect-src 'self'",
		"base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'",
	}, "; "))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(p.before)
	// The style library of the UI looks here for its nonce.
	_, _ = fmt.Fprintf(w, `<meta property="csp-nonce" content="%s"/>`, nonce)
	_, _ = w.Write(p.after)
	if session {
		_, _ = fmt.Fprintf(w, logoutForm, nonce)
	}
	_, _ = w.Write(p.end)
}

// logoutForm lies over the page, where asynqmon has nothing.
const logoutForm = `<style nonce="%s">#logout{position:fixed;right:12px;top:14px;z-index:2000;margin:0}</style>` +
	`<form id="logout" method="post" action="` + logoutPath + `"><button>Log out</button></form>`

// capture keeps an answer in memory: the files are few and small.
type capture struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (c *capture) Header() http.Header { return c.header }

// WriteHeader implements http.ResponseWriter.
func (c *capture) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

// Write implements http.ResponseWriter.
func (c *capture) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	return c.body.Write(p)
}

// apiWriter names the type of JSON answers, which asynqmon leaves to guessing,
// and answers 404 where asynqmon sends its page.
type apiWriter struct {
	http.ResponseWriter

	decided, missing bool
}

// WriteHeader implements http.ResponseWriter.
func (w *apiWriter) WriteHeader(status int) {
	w.decided = true
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *apiWriter) Write(p []byte) (int, error) {
	if !w.decided {
		w.decided = true
		w.missing = bytes.HasPrefix(bytes.TrimSpace(p), []byte("<"))
		switch {
		case w.missing:
			http.Error(w.ResponseWriter, "no such call", http.StatusNotFound)
		case w.Header().Get("Content-Type") == "":
			w.Header().Set("Content-Type", "application/json")
		}
	}
	if w.missing {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}
