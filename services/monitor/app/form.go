package app

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
)

const (
	loginPath  = "/login"
	logoutPath = "/logout"
	// maxForm is far above a user's name and a password.
	maxForm = 8 << 10

	formStyle = `body{font:16px/1.5 system-ui,sans-serif;background:#f5f5f5;color:#222;display:grid;place-items:center;min-height:90vh}` +
		`form{background:#fff;padding:2rem;border-radius:8px;box-shadow:0 1px 4px #0003;width:18rem}h1{font-size:1.2rem;margin:0 0 1rem}` +
		`label{display:block;margin-bottom:1rem}input{font:inherit;width:100%;box-sizing:border-box;padding:.4rem}` +
		`button{font:inherit;padding:.4rem 1.2rem}p{color:#a00}`
)

//nolint:gochecknoglobals // parsed once, never assigned
var formPage = template.Must(template.New("login").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>crm-webhooks queues</title>
<style>` + formStyle + `</style></head>
<body><form method="post" action="` + loginPath + `"><h1>crm-webhooks queues</h1>
{{with .}}<p role="alert">{{.}}</p>{{end}}
<label>User <input name="user" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form></body></html>
`))

// handle adds the form and what it posts to. Both posts must come from our own
// pages: another site could log a browser in or out, too.
func (l *login) handle(mux *http.ServeMux) {
	own := http.NewCrossOriginProtection()
	mux.HandleFunc("GET "+loginPath, func(w http.ResponseWriter, _ *http.Request) { sendForm(w, http.StatusOK, "") })
	mux.Handle("POST "+loginPath, own.Handler(http.HandlerFunc(l.logIn)))
	mux.Handle("POST "+logoutPath, own.Handler(http.HandlerFunc(l.logOut)))
}

// sendForm sends it under a policy that allows its one style and nothing else.
func sendForm(w http.ResponseWriter, status int, complaint string) {
	sum := sha256.Sum256([]byte(formStyle))
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = formPage.Execute(w, complaint) // who asked may have gone
}

func (l *login) logIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		sendForm(w, http.StatusBadRequest, "That was no login.")
		return
	}
	in, wait := l.attempt(r, r.PostForm.Get("user"), r.PostForm.Get("password"))
	switch {
	case wait > 0:
		retryAfter(w, wait)
		sendForm(w, http.StatusTooManyRequests, fmt.Sprintf("Too many failed logins. Try again in %.0f seconds.", wait.Seconds()))
	case !in:
		sendForm(w, http.StatusUnauthorized, "User or password is wrong.")
	default:
		l.log.InfoContext(r.Context(), "login of an operator", "remote", r.RemoteAddr)
		http.SetCookie(w, cookie(r, l.sessions.begin()))
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}

func (l *login) logOut(w http.ResponseWriter, r *http.Request) {
	l.sessions.end(tokenOf(r))
	http.SetCookie(w, cookie(r, ""))
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}
