package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestApp_login(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	for name, tc := range map[string]struct {
		path string
		edit func(*http.Request)
		want int
	}{
		"right":                     {"/", nil, http.StatusOK},
		"right, for data":           {"/api/queues", nil, http.StatusOK},
		"right, for a file":         {"/favicon.ico", nil, http.StatusOK},
		"none":                      {"/", logOut, http.StatusUnauthorized},
		"none, for data":            {"/api/queues", logOut, http.StatusUnauthorized},
		"none, for a file":          {"/favicon.ico", logOut, http.StatusUnauthorized},
		"wrong password":            {"/", as(user, "wrong"), http.StatusUnauthorized},
		"wrong user":                {"/", as("root", password), http.StatusUnauthorized},
		"empty":                     {"/", as("", ""), http.StatusUnauthorized},
		"password with a tail":      {"/", as(user, password+"x"), http.StatusUnauthorized},
		"another scheme":            {"/", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, http.StatusUnauthorized},
		"health needs none":         {"/healthz", logOut, http.StatusOK},
		"health is an exact path":   {"/healthz/../api/queues", logOut, http.StatusTemporaryRedirect},
		"an encoded path is no way": {"/%61pi/queues", logOut, http.StatusUnauthorized},
	} {
		got := m.do(t, http.MethodGet, tc.path, tc.edit)
		if got.status != tc.want {
			t.Errorf("%s: status %d, want %d", name, got.status, tc.want)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (challenge != "") != (got.status == http.StatusUnauthorized) {
			t.Errorf("%s: status %d with challenge %q", name, got.status, challenge)
		}
	}
	if got := m.do(t, http.MethodGet, "/healthz", logOut); got.body != "ok\n" {
		t.Errorf("health says %q", got.body)
	}
}

func logOut(r *http.Request) { r.Header.Del("Authorization") }

func as(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func TestApp_guessingIsThrottled(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	for range addressBurst {
		if got := m.do(t, http.MethodGet, "/", as(user, "guess")); got.status != http.StatusUnauthorized {
			t.Fatalf("guess got %d", got.status)
		}
	}
	got := m.do(t, http.MethodGet, "/", as(user, password))
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" {
		t.Errorf("after %d guesses: status %d, Retry-After %q", addressBurst, got.status, got.header.Get("Retry-After"))
	}
	if got := m.do(t, http.MethodGet, "/healthz", nil); got.status != http.StatusOK {
		t.Errorf("health while throttled: %d", got.status)
	}
}

// post sends a form without credentials of any other kind, and follows nothing.
func (m *monitor) post(t *testing.T, path string, form url.Values, edit func(*http.Request)) answer {
	t.Helper()
	return m.do(t, http.MethodPost, path, func(r *http.Request) {
		logOut(r)
		text := form.Encode()
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if edit != nil {
			edit(r)
		}
	})
}

func credentials(user, password string) url.Values {
	return url.Values{"user": {user}, "password": {password}}
}

// logIn returns the cookie that a browser got.
func (m *monitor) logIn(t *testing.T, edit func(*http.Request)) *http.Cookie {
	t.Helper()
	got := m.post(t, "/login", credentials(user, password), edit)
	cookies := (&http.Response{Header: got.header}).Cookies()
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/" || len(cookies) != 1 {
		t.Fatalf("login: status %d to %q, cookies %v", got.status, got.header.Get("Location"), cookies)
	}
	return cookies[0]
}

func with(c *http.Cookie) func(*http.Request) {
	return func(r *http.Request) { logOut(r); r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value}) }
}

func TestLogin_ofABrowser(t *testing.T) {
	t.Parallel()
	m := start(t, false)
	m.awaitQueues(t)
	sent := m.do(t, http.MethodGet, "/queues/bulk", func(r *http.Request) { logOut(r); r.Header.Set("Accept", "text/html,*/*") })
	if sent.status != http.StatusSeeOther || sent.header.Get("Location") != "/login" {
		t.Errorf("a browser without a session: status %d to %q", sent.status, sent.header.Get("Location"))
	}
	form := m.do(t, http.MethodGet, "/login", logOut)
	policy := form.header.Get("Content-Security-Policy")
	if form.status != http.StatusOK || strings.Contains(form.body, "<script") || strings.Contains(policy, "script-src") ||
		strings.Contains(policy, "unsafe") || !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "form-action 'self'") {
		t.Errorf("form: status %d, policy %q\n%s", form.status, policy, form.body)
	}
	for name, wrong := range map[string]url.Values{
		"password": credentials(user, "wrong"), "user": credentials("root", password), "empty": {}, "long": credentials(user, strings.Repeat("x", maxForm)),
	} {
		got := m.post(t, "/login", wrong, nil)
		if (got.status != http.StatusUnauthorized && got.status != http.StatusBadRequest) || got.header.Get("Set-Cookie") != "" {
			t.Errorf("wrong %s: status %d, cookie %q", name, got.status, got.header.Get("Set-Cookie"))
		}
	}
	c := m.logIn(t, nil)
	page := m.do(t, http.MethodGet, "/", with(c))
	if page.status != http.StatusOK || !strings.Contains(page.body, `action="/logout"`) || strings.Contains(page.body, c.Value) {
		t.Errorf("page of a session: status %d\n%s", page.status, page.body)
	}
	if got := m.do(t, http.MethodGet, "/api/queues", with(c)); got.status != http.StatusOK {
		t.Errorf("data of a session: status %d", got.status)
	}
	if got := m.do(t, http.MethodGet, "/", with(&http.Cookie{Name: c.Name, Value: c.Value + "x"})); got.status != http.StatusUnauthorized {
		t.Errorf("another token: status %d", got.status)
	}
	left := m.post(t, "/logout", nil, with(c))
	if gone := (&http.Response{Header: left.header}).Cookies(); left.status != http.StatusSeeOther || len(gone) != 1 || gone[0].MaxAge >= 0 {
		t.Errorf("logout: status %d, cookies %v", left.status, gone)
	}
	if got := m.do(t, http.MethodGet, "/api/queues", with(c)); got.status != http.StatusUnauthorized {
		t.Errorf("after the logout: status %d", got.status)
	}
}

func TestLogin_cookie(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	behindTLS := func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "https") }
	for name, tc := range map[string]struct {
		edit   func(*http.Request)
		cookie string
		secure bool
	}{"plain": {nil, "monitor_session", false}, "behind TLS": {behindTLS, "__Host-monitor_session", true}} {
		c := m.logIn(t, tc.edit)
		if c.Name != tc.cookie || c.Secure != tc.secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode ||
			c.Path != "/" || c.Domain != "" || c.MaxAge != int(sessionLife.Seconds()) || len(c.Value) < 32 {
			t.Errorf("%s: cookie %+v", name, c)
		}
	}
	// What came under the other name may have been planted over plain HTTP.
	planted := m.logIn(t, nil)
	got := m.do(t, http.MethodGet, "/", func(r *http.Request) { with(planted)(r); behindTLS(r) })
	if got.status != http.StatusUnauthorized {
		t.Errorf("a plain cookie behind TLS: status %d", got.status)
	}
}

func TestLogin_changesOfASessionComeFromOwnPages(t *testing.T) {
	t.Parallel()
	m := start(t, false)
	m.awaitQueues(t)
	c := m.logIn(t, nil)
	foreign := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { with(c)(r); r.Header.Set(name, value) }
	}
	for _, path := range []string{"/api/queues/bulk:pause", "/login", "/logout"} {
		for name, edit := range map[string]func(*http.Request){
			"cross-site": foreign("Sec-Fetch-Site", "cross-site"), "same-site": foreign("Sec-Fetch-Site", "same-site"),
			"origin": foreign("Origin", "https://evil.example"), "no origin": foreign("Origin", "null"),
		} {
			if got := m.post(t, path, credentials(user, password), edit); got.status != http.StatusForbidden || got.header.Get("Set-Cookie") != "" {
				t.Errorf("%s, %s: status %d, cookie %q", path, name, got.status, got.header.Get("Set-Cookie"))
			}
		}
	}
	if m.queues(t)["bulk"] {
		t.Error("another site has paused a queue")
	}
	if got := m.post(t, "/api/queues/bulk:pause", nil, foreign("Sec-Fetch-Site", "same-origin")); got.status != http.StatusNoContent {
		t.Errorf("own page: status %d", got.status)
	}
}

func TestLogin_guessingByFormIsThrottled(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	before := m.logIn(t, nil)
	for i := range addressBurst {
		guess := func() answer { return m.post(t, "/login", credentials(user, "guess"), nil) }
		if i%2 == 0 { // both ways count together
			guess = func() answer { return m.do(t, http.MethodGet, "/", as(user, "guess")) }
		}
		if got := guess(); got.status != http.StatusUnauthorized {
			t.Fatalf("guess %d: status %d", i, got.status)
		}
	}
	got := m.post(t, "/login", credentials(user, password), nil)
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" || got.header.Get("Set-Cookie") != "" {
		t.Errorf("after %d guesses: status %d", addressBurst, got.status)
	}
	if got := m.do(t, http.MethodGet, "/api/queues", with(before)); got.status != http.StatusOK {
		t.Errorf("who was logged in: status %d", got.status)
	}
}

// A browser that is asked by Basic keeps the password for as long as it runs.
func TestLogin_scriptsOfABrowserAreNotAskedForAPassword(t *testing.T) {
	t.Parallel()
	m := start(t, true)
	got := m.do(t, http.MethodGet, "/api/queues", func(r *http.Request) { logOut(r); r.Header.Set("Sec-Fetch-Mode", "cors") })
	if challenge := got.header.Get("WWW-Authenticate"); got.status != http.StatusUnauthorized || strings.HasPrefix(challenge, "Basic") {
		t.Errorf("status %d with %q", got.status, challenge)
	}
}

// What tells nothing by its time has no early end: only hashes and comparisons
// that look at every byte, joined without a condition.
func TestLogin_comparesInConstantTime(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "login.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(file.Decls, func(d ast.Decl) bool { f, ok := d.(*ast.FuncDecl); return ok && f.Name.Name == "matches" })
	if at < 0 {
		t.Fatal("there is no matches")
	}
	compared := 0
	ast.Inspect(file.Decls[at], func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt, *ast.SwitchStmt:
			t.Errorf("matches takes turns: %T", n)
		case *ast.BinaryExpr:
			one, ok := n.Y.(*ast.BasicLit)
			if whole := n.Op == token.EQL && ok && one.Value == "1"; n.Op != token.AND && !whole {
				t.Errorf("matches joins by %s", n.Op)
			}
		case *ast.SelectorExpr:
			if n.Sel.Name == "ConstantTimeCompare" {
				compared++
			}
		}
		return true
	})
	if compared != 2 {
		t.Errorf("%d comparisons in constant time, want user and password", compared)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1_800_000_000, 0)
	s := newSessions(func() time.Time { return clock })
	idle, busy := s.begin(), s.begin()
	for range int(sessionLife/sessionIdle)*2 - 1 {
		clock = clock.Add(sessionIdle / 2)
		if !s.has(busy) {
			t.Fatalf("a session in use ended at %s", clock)
		}
	}
	if s.has(idle) {
		t.Error("an idle session goes on")
	}
	clock = clock.Add(sessionIdle / 2)
	if s.has(busy) {
		t.Errorf("a session outlives %s", sessionLife)
	}
	if s.has("") || len(s.open) != 0 {
		t.Errorf("%d sessions are kept", len(s.open))
	}
}

func TestSessions_memoryIsBounded(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1_800_000_000, 0)
	s := newSessions(func() time.Time { return clock })
	tokens := make([]string, maxSessions+5)
	for i := range tokens {
		clock = clock.Add(time.Millisecond)
		tokens[i] = s.begin()
	}
	if len(s.open) != maxSessions || s.has(tokens[4]) || !s.has(tokens[5]) || !s.has(tokens[len(tokens)-1]) {
		t.Errorf("%d sessions kept, want the latest %d", len(s.open), maxSessions)
	}
	clock = clock.Add(sessionIdle)
	s.begin()
	if len(s.open) != 1 {
		t.Errorf("%d sessions kept once the others were over", len(s.open))
	}
}
