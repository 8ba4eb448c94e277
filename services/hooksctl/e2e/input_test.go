package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/crm-webhooks/crm-webhooks/pkg/token"
)

// assertNothingStored is the second half of every refusal.
func (s *system) assertNothingStored() {
	s.t.Helper()
	for _, table := range []string{"webhooks", "subscriptions", "lanes", "events", "deliveries", "pending_deliveries", "idempotency_keys"} {
		if n := s.count(`SELECT count(*) FROM ` + table); n != 0 {
			s.t.Errorf("%d rows in %s after nothing but refusals", n, table)
		}
	}
}

// refusals checks operations whose userErrors must name a field and a rule:
// each case is what replaces or adds to a good input.
func refusals(c *client, query string, good vars, cases map[string]refusal) {
	c.t.Helper()
	for name, tc := range cases {
		input := vars{}
		for key, value := range good {
			input[key] = value
		}
		for key, value := range tc.input {
			input[key] = value
		}
		got := get[struct {
			UserErrors []userError
		}](c, query, vars{"input": input})
		if len(got.UserErrors) != 1 {
			c.t.Errorf("%s: %v, want one error", name, got.UserErrors)
			continue
		}
		e := got.UserErrors[0]
		code := tc.code
		if code == "" {
			code = "INVALID"
		}
		if e.Code != code || strings.Join(e.Field, ".") != "input."+tc.field || !strings.Contains(e.Message, tc.rule) ||
			!strings.Contains(e.Message, strings.Join(e.Field, ".")) {
			c.t.Errorf("%s: %v, want %s about %s saying %q", name, e, code, tc.field, tc.rule)
		}
	}
}

type refusal struct {
	input             vars
	field, rule, code string
}

func secretOf(bytes int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, bytes))
}

func list[T any](items ...T) []T { return items }

func TestInput_webhooksThatBreakARule(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	c := s.client(s.api(), tenant)
	header := func(name, value string) vars { return vars{"headers": list(vars{"name": name, "value": value})} }
	url := func(u string) vars { return vars{"url": u} }
	manyHeaders := make([]vars, 21)
	for i := range manyHeaders {
		manyHeaders[i] = vars{"name": fmt.Sprint("X-", i), "value": "x"}
	}
	refusals(c, createHook, vars{"name": "n", "url": "https://example.com/", "eventPatterns": list("lead.*")}, map[string]refusal{
		"no subscription":          {vars{"eventPatterns": list[string]()}, "events", "must not be empty", ""},
		"an event twice":           {vars{"events": list("LEAD_CREATED", "LEAD_CREATED")}, "events.1", "must not repeat", ""},
		"a pattern twice":          {vars{"eventPatterns": list("lead.*", "lead.*")}, "eventPatterns.1", "must not repeat", ""},
		"a pattern in capitals":    {vars{"eventPatterns": list("Lead.created")}, "eventPatterns.0", "must", ""},
		"a star in the middle":     {vars{"eventPatterns": list("lead.*.created")}, "eventPatterns.0", "must", ""},
		"an empty pattern":         {vars{"eventPatterns": list("")}, "eventPatterns.0", "must", ""},
		"no name":                  {vars{"name": ""}, "name", "must", ""},
		"a long name":              {vars{"name": strings.Repeat("x", 101)}, "name", "100", ""},
		"NUL in the name":          {vars{"name": "a\x00b"}, "name", "must", ""},
		"NUL in the description":   {vars{"description": "a\x00b"}, "description", "must", ""},
		"a long description":       {vars{"description": strings.Repeat("x", 1001)}, "description", "1000", ""},
		"no URL":                   {url(""), "url", "must not be empty", ""},
		"credentials in the URL":   {url("https://user:password@example.com/"), "url", "credentials", ""},
		"a fragment":               {url("https://example.com/#x"), "url", "fragment", ""},
		"an odd scheme":            {url("ftp://example.com/"), "url", "must start with", ""},
		"no scheme":                {url("example.com"), "url", "must start with", ""},
		"no host":                  {url("https:///path"), "url", "host", ""},
		"a private address":        {url("https://10.0.0.1/"), "url", "private", ""},
		"the metadata service":     {url("http://169.254.169.254/latest"), "url", "private", ""},
		"the IPv6 loopback":        {url("https://[::1]/"), "url", "private", ""},
		"an address in disguise":   {url("https://0x7f.1/"), "url", "must spell an address", ""},
		"NUL in the URL":           {url("https://example.com/\x00"), "url", "printable ASCII", ""},
		"a long URL":               {url("https://example.com/" + strings.Repeat("x", 2048)), "url", "2048", ""},
		"CR in a header's value":   {header("X-A", "a\rb"), "headers.0.value", "line breaks", ""},
		"LF in a header's value":   {header("X-A", "a\nX-B: c"), "headers.0.value", "line breaks", ""},
		"LF in a header's name":    {header("X-A\nX-B", "c"), "headers.0.name", "header name", ""},
		"a reserved header":        {header("Host", "x"), "headers.0.name", "must not be one that", ""},
		"our own header":           {header("webhook-signature", "x"), "headers.0.name", "must not be one that", ""},
		"a header twice":           {vars{"headers": list(vars{"name": "X-A", "value": "1"}, vars{"name": "x-a", "value": "2"})}, "headers.1.name", "must not repeat", ""},
		"too many headers":         {vars{"headers": manyHeaders}, "headers", "20", "LIMIT_EXCEEDED"},
		"a large header":           {header("X-A", strings.Repeat("x", 4096)), "headers.0.value", "4096", "LIMIT_EXCEEDED"},
		"a short secret":           {vars{"secret": secretOf(23)}, "secret", "24 to 64", ""},
		"a long secret":            {vars{"secret": secretOf(65)}, "secret", "24 to 64", ""},
		"a secret without prefix":  {vars{"secret": strings.Repeat("A", 44)}, "secret", "whsec_", ""},
		"a secret not in base64":   {vars{"secret": "whsec_" + strings.Repeat("!", 44)}, "secret", "base64", ""},
		"no attempt":               {vars{"maxAttempts": 0}, "maxAttempts", "1", ""},
		"too many attempts":        {vars{"maxAttempts": 21}, "maxAttempts", "20", ""},
		"a short timeout":          {vars{"timeoutMs": 499}, "timeoutMs", "500", ""},
		"a long timeout":           {vars{"timeoutMs": 30_001}, "timeoutMs", "30000", ""},
		"a short backoff":          {vars{"initialBackoffMs": 9}, "initialBackoffMs", "10", ""},
		"a long backoff":           {vars{"initialBackoffMs": 43_200_001}, "initialBackoffMs", "43200000", ""},
		"a negative, absurd limit": {vars{"maxAttempts": -2147483648}, "maxAttempts", "1", ""},
	})
	// Several at once are named at once.
	got := get[created](c, createHook, vars{"input": vars{"name": "", "url": "ftp://x", "eventPatterns": list("A"), "maxAttempts": 99, "secret": "x"}})
	if len(got.UserErrors) != 5 || got.Webhook != nil || got.Secret != "" {
		t.Errorf("five faults: %v", got.UserErrors)
	}
	s.assertNothingStored()
}

func TestInput_theHundredAndFirstWebhook(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	api := s.api()
	c := s.client(api, tenant)
	for range 99 {
		c.create("https://example.com/", nil)
	}
	// Two at once for the last place: one gets it.
	results := make(chan string, 2)
	for range 2 {
		go func() { // each one's result is waited for below
			a, err := c.send(createHook, vars{"input": vars{"name": "n", "url": "https://example.com/", "eventPatterns": list("*")}})
			if err != nil {
				t.Error(err)
			}
			results <- a.Text
		}()
	}
	limited := 0
	for range 2 {
		if strings.Contains(<-results, "LIMIT_EXCEEDED") {
			limited++
		}
	}
	if n := s.count(`SELECT count(*) FROM webhooks`); n != 100 || limited != 1 {
		t.Errorf("%d webhooks, %d refused, want 100 and 1", n, limited)
	}
	s.client(api, "other").create("https://example.com/", nil) // has places of its own
}

func TestInput_eventsThatBreakARule(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	c := s.client(s.api(), tenant)
	custom := func(name string) vars { return vars{"event": nil, "customEvent": name} }
	large := vars{"a": strings.Repeat("x", 140<<10)}
	refusals(c, dispatchOne, event("1"), map[string]refusal{
		"no event":                     {vars{"event": nil}, "event", "must be given", ""},
		"two events":                   {vars{"customEvent": "a.b"}, "event", "not both", ""},
		"a custom event in capitals":   {custom("Invoice.Paid"), "customEvent", "lower-case", ""},
		"a long custom event":          {custom(strings.Repeat("x", 129)), "customEvent", "128", ""},
		"a built-in as a custom event": {custom("lead.created"), "customEvent", "LEAD_CREATED", ""},
		"a test as a custom event":     {custom("webhook.test"), "customEvent", "reserved", ""},
		"a wildcard as a custom event": {custom("lead.*"), "customEvent", "lower-case", ""},
		"a list as the object":         {vars{"object": list(1)}, "object", "JSON object", ""},
		"a text as the object":         {vars{"object": "x"}, "object", "JSON object", ""},
		"a number as previous":         {vars{"previous": 1}, "previous", "JSON object", ""},
		"no object id":                 {vars{"objectId": ""}, "objectId", "must", ""},
		"NUL in the object id":         {vars{"objectId": "a\x00"}, "objectId", "must", ""},
		"an empty key":                 {vars{"idempotencyKey": ""}, "idempotencyKey", "1 to 255", ""},
		"a long key":                   {vars{"idempotencyKey": strings.Repeat("x", 256)}, "idempotencyKey", "1 to 255", ""},
		"a newline in a correlation":   {vars{"correlationId": "a\nb"}, "correlationId", "must", ""},
		"a time before time":           {vars{"occurredAt": "1969-12-31T23:59:59Z"}, "occurredAt", "1970", ""},
		"a large object":               {vars{"object": large, "previous": large}, "object", "262144", "LIMIT_EXCEEDED"},
	})
	s.assertNothingStored()
}

// What does not fit the schema or a list is a top-level error that names the
// culprit.
func TestInput_requestsThatDoNotFit(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	c := s.client(s.api(), tenant)
	hook := func(more vars) vars {
		all := vars{"name": "n", "url": "https://example.com/", "eventPatterns": list("*")}
		for name, value := range more {
			all[name] = value
		}
		return vars{"input": all}
	}
	with := func(more vars) vars {
		e := event("1")
		for name, value := range more {
			e[name] = value
		}
		return vars{"input": e}
	}
	for name, tc := range map[string]struct {
		query string
		vars  vars
		says  []string
		code  string
	}{
		"unknown event":          {createHook, hook(vars{"events": list("LEAD_EXPLODED")}), list("events", "LEAD_EXPLODED"), ""},
		"unknown event to send":  {dispatchOne, with(vars{"event": "lead.created"}), list("event", "lead.created"), ""},
		"unknown status":         {updateHook, vars{"id": "x", "input": vars{"status": "ASLEEP"}}, list("status", "ASLEEP"), ""},
		"unknown field":          {createHook, hook(vars{"colour": "blue"}), list("colour"), ""},
		"a number as a text":     {createHook, hook(vars{"name": 1}), list("variables.input.name", "String"), ""},
		"a text as a number":     {createHook, hook(vars{"maxAttempts": "3"}), list("variables.input.maxAttempts", "Int"), ""},
		"half an attempt":        {createHook, hook(vars{"maxAttempts": 1.5}), list("variables.input.maxAttempts", "Int"), ""},
		"33 bits":                {createHook, hook(vars{"maxAttempts": int64(1) << 32}), list("variables.input.maxAttempts", "Int"), ""},
		"null where none may be": {createHook, hook(vars{"name": nil}), list("name"), ""},
		"nothing at all":         {createHook, nil, list("input"), ""},
		"no object":              {dispatchOne, vars{"input": vars{"event": "LEAD_CREATED", "objectId": "1"}}, list("object"), ""},
		"a time that is none":    {dispatchOne, with(vars{"occurredAt": "yesterday"}), list("variables.input.occurredAt", "RFC 3339"), ""},
		"first: 0":               {queryHooks, vars{"first": 0}, list("first", "between 1 and 100"), ""},
		"first: 101":             {queryDeliveries, vars{"first": 101}, list("first", "between 1 and 100"), ""},
		"last: 0":                {queryHooks, vars{"last": 0}, list("last", "between 1 and 100"), ""},
		"first and last":         {queryHooks, vars{"first": 1, "last": 1}, list("first", "last"), ""},
		"a bad cursor":           {queryDeliveries, vars{"after": "nonsense"}, list("after", "cursor"), ""},
		"an empty cursor":        {queryHooks, vars{"before": ""}, list("before", "cursor"), ""},
		"another list's cursor":  {queryHooks, vars{"after": base64.RawURLEncoding.EncodeToString([]byte("1:dlv_" + strings.Repeat("0", 32)))}, list("after", "cursor"), ""},
		"times the wrong way":    {queryDeliveries, vars{"filter": vars{"createdAfter": "2026-01-02T00:00:00Z", "createdBefore": "2026-01-01T00:00:00Z"}}, list("createdAfter", "createdBefore"), ""},
		"NUL in a search":        {queryHooks, vars{"filter": vars{"search": "a\x00"}}, list("search"), ""},
		"syntax":                 {`{viewer{subject}`, nil, list(""), ""},
		"unknown selection":      {`{viewer{password}}`, nil, list("password"), ""},
		"a long document":        {`{viewer{subject}} #` + strings.Repeat("x", 16<<10), nil, list("query", "16384"), "LIMIT_EXCEEDED"},
		"many aliases":           {`{` + aliases(51) + `}`, nil, list("aliases"), "LIMIT_EXCEEDED"},
		"a deep document":        {`{__schema{types{fields{type{` + strings.Repeat("ofType{", 14) + "name" + strings.Repeat("}", 14) + `}}}}}`, nil, list("depth"), "LIMIT_EXCEEDED"},
	} {
		a := c.ask(tc.query, tc.vars)
		code := tc.code
		if code == "" {
			code = "BAD_USER_INPUT"
		}
		if a.code() != code || a.Status == http.StatusInternalServerError || hasData(a) {
			t.Errorf("%s: HTTP %d %s, want %s", name, a.Status, a.Text, code)
			continue
		}
		for _, word := range tc.says {
			if !strings.Contains(a.Errors[0].Message, word) {
				t.Errorf("%s: %q does not name %s", name, a.Errors[0].Message, word)
			}
		}
	}
	s.assertNothingStored()
}

// hasData reports whether any field was answered.
func hasData(a answer) bool {
	for _, value := range a.Data {
		if string(value) != "null" {
			return true
		}
	}
	return false
}

func aliases(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "a%d:viewer{subject} ", i)
	}
	return b.String()
}

// What is wrong with the HTTP is refused before anything is executed.
func TestInput_HTTPThatIsRefused(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	c := s.client(s.api(), tenant)
	graphql := `{"query":"mutation{dispatchEvent(input:{event:LEAD_CREATED,objectId:\"1\",object:{}}){eventId}}"}`
	large, err := json.Marshal(map[string]any{"query": dispatchOne, "variables": vars{"input": vars{
		"event": "LEAD_CREATED", "objectId": "1", "object": vars{"a": strings.Repeat("x", 1<<20)},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		method, path, contentType, accept, body string
		status                                  int
		code                                    string
	}{
		"oversized":         {body: string(large), status: http.StatusRequestEntityTooLarge, code: "LIMIT_EXCEEDED"},
		"not JSON":          {body: `{"query":`, status: http.StatusBadRequest},
		"a JSON list":       {body: `[` + graphql + `]`, status: http.StatusBadRequest},
		"null":              {body: `null`, status: http.StatusBadRequest},
		"no query":          {body: `{}`, status: http.StatusBadRequest},
		"a number as query": {body: `{"query":1}`, status: http.StatusBadRequest},
		"odd variables":     {body: `{"query":"{viewer{subject}}","variables":[1]}`, status: http.StatusBadRequest},
		"not UTF-8":         {body: "{\"query\":\"{viewer{subject}} #\xff\"}", status: http.StatusBadRequest},
		"a form":            {contentType: "application/x-www-form-urlencoded", body: "query=1", status: http.StatusUnsupportedMediaType},
		"text":              {contentType: "text/plain", body: graphql, status: http.StatusUnsupportedMediaType},
		"PUT":               {method: http.MethodPut, body: graphql, status: http.StatusMethodNotAllowed},
		"mutation by GET": {
			method: http.MethodGet, path: `?query=mutation{deleteWebhook(id:"x"){deletedId}}`, status: http.StatusMethodNotAllowed,
		},
		"HTML wanted": {accept: "text/html", body: graphql, status: http.StatusNotAcceptable},
	} {
		method, contentType, code := tc.method, tc.contentType, tc.code
		if method == "" {
			method = http.MethodPost
		}
		if contentType == "" {
			contentType = "application/json"
		}
		if code == "" {
			code = "BAD_USER_INPUT"
		}
		req, err := http.NewRequest(method, "http://"+c.addr+"/graphql"+strings.ReplaceAll(tc.path, `"`, "%22"), strings.NewReader(tc.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+c.bearer)
		req.Header.Set("Content-Type", contentType)
		if tc.accept != "" {
			req.Header.Set("Accept", tc.accept)
		}
		a, err := c.exchange(req)
		if err != nil || a.Status != tc.status || a.code() != code || a.Errors[0].Message == "" {
			t.Errorf("%s: HTTP %d %s, %v, want %d and %s", name, a.Status, a.Text, err, tc.status, code)
		}
	}
	s.assertNothingStored()
}

func TestInput_tokensThatDoNotCount(t *testing.T) {
	t.Parallel()
	s := newSystem(t)
	api := s.api("HOOKS_JWT_ISSUER=https://id.example")
	good := func() token.Claims {
		all := claims(tenant, token.Admin)
		all.Issuer = "https://id.example"
		return all
	}
	sign := func(change func(c *token.Claims)) string {
		t.Helper()
		all := good()
		change(&all)
		return s.token(all)
	}
	mint := func(secret string, at time.Time) string {
		t.Helper()
		signed, err := token.Mint([]byte(secret), good(), at, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	by := func(method jwt.SigningMethod, key any) string {
		t.Helper()
		all := good()
		all.ExpiresAt = jwt.NewNumericDate(time.Now().Add(time.Hour))
		signed, err := jwt.NewWithClaims(method, all).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	forever, err := jwt.NewWithClaims(jwt.SigningMethodHS256, good()).SignedString([]byte(s.jwtSecret))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ bearer, says string }{
		"none":             {"", "Authorization"},
		"nonsense":         {"nonsense", "JWT"},
		"expired":          {mint(s.jwtSecret, time.Now().Add(-2*time.Hour)), "exp"},
		"without end":      {forever, "exp"},
		"unsigned":         {by(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), "signed"},
		"another key":      {mint(strings.Repeat("k", 32), time.Now()), "signed"},
		"another method":   {by(jwt.SigningMethodHS512, []byte(s.jwtSecret)), "signed"},
		"another audience": {sign(func(c *token.Claims) { c.Audience = jwt.ClaimStrings{"elsewhere"} }), "aud"},
		"no audience":      {sign(func(c *token.Claims) { c.Audience = nil }), "aud"},
		"another issuer":   {sign(func(c *token.Claims) { c.Issuer = "https://evil.example" }), "iss"},
		"no tenant":        {sign(func(c *token.Claims) { c.TenantID = "" }), "tenant_id"},
		"an odd tenant":    {sign(func(c *token.Claims) { c.TenantID = "a b" }), "tenant_id"},
		"an unknown role":  {sign(func(c *token.Claims) { c.Role = "GOD" }), "role"},
		"no subject":       {sign(func(c *token.Claims) { c.Subject = "" }), "sub"},
		"a forged tenant":  {forged(t, s.token(good())), "signed"},
	} {
		c := newClient(t, api.addr, tc.bearer)
		a := c.ask(dispatchOne, vars{"input": event("1")})
		if a.Status != http.StatusUnauthorized || a.code() != "UNAUTHENTICATED" || a.Header.Get("WWW-Authenticate") == "" ||
			!strings.Contains(a.Errors[0].Message, tc.says) || len(a.Data) > 0 {
			t.Errorf("%s: HTTP %d %s, want 401 and something about %s", name, a.Status, a.Text, tc.says)
		}
	}
	// A good one that permits too little.
	for _, narrowed := range []func(c *token.Claims){
		func(c *token.Claims) { c.Role = string(token.ReadOnly) },
		func(c *token.Claims) { c.Permissions = []string{"WEBHOOK_READ"} },
		func(c *token.Claims) { c.Permissions = []string{} },
	} {
		a := newClient(t, api.addr, sign(narrowed)).ask(dispatchOne, vars{"input": event("1")})
		if a.code() != "FORBIDDEN" || !strings.Contains(a.Errors[0].Message, "EVENT_DISPATCH") || hasData(a) {
			t.Errorf("without the permission: HTTP %d %s", a.Status, a.Text)
		}
	}
	s.assertNothingStored()
	newClient(t, api.addr, s.token(good())).dispatch(event("1")) // a good one does count
}

// forged changes a signed token's tenant.
func forged(t *testing.T, signed string) string {
	t.Helper()
	parts := strings.Split(signed, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !strings.Contains(string(payload), tenant) {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(payload), tenant, "evil", 1)))
	return strings.Join(parts, ".")
}
