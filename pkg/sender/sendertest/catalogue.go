package sendertest

import (
	"fmt"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// dripEvery is short against any timeout, and long enough that a dripped answer
// is not over within one.
const dripEvery = 20 * time.Millisecond

// Catalogue returns all behaviours. Those that hold a sender up do so until its
// timeout.
func Catalogue() []Behaviour {
	var all []Behaviour
	for _, part := range [][]Behaviour{
		good(), refusals(), redirects(), slow(), broken(), cutOff(), excessive(), retryAfters(), badTLS(), http2(),
	} {
		all = append(all, part...)
	}
	return all
}

// Named returns one behaviour of the catalogue. It panics where there is none.
func Named(name string) Behaviour {
	for _, b := range Catalogue() {
		if b.Name == name {
			return b
		}
	}
	panic("sendertest: no behaviour named " + name)
}

// Status returns the behaviour that answers with a status, whole and at once.
func Status(code int, headers ...string) Behaviour {
	b := says(fmt.Sprintf("status %d", code), Want{Class: webhook.ClassStatus, Status: code, Text: fmt.Sprintf("receiver answered %d", code)},
		answer(code, "", headers...))
	if webhook.SuccessStatus(code) {
		b.Want = Want{Status: code}
	}
	return b
}

func answer(code int, body string, headers ...string) string {
	lines := append([]string{fmt.Sprintf("HTTP/1.1 %03d Whatever It Says", code)}, headers...)
	if code != 204 && code != 304 && code >= 200 {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// says answers every request with the same text.
func says(name string, want Want, text string) Behaviour {
	return Behaviour{Name: name, Want: want, Answer: func(c *Conn) { c.Write(text) }}
}

// does sends text and then acts.
func does(name string, want Want, text string, act func(*Conn)) Behaviour {
	return Behaviour{Name: name, Want: want, Answer: func(c *Conn) {
		c.Write(text)
		act(c)
	}}
}

func good() []Behaviour {
	success := Want{Status: 200}
	long := strings.Repeat("X-Filler: "+strings.Repeat("x", 1014)+"\r\n", 20)
	all := []Behaviour{
		says("200", success, ok),
		says("empty body", success, answer(200, "")),
		says("chunked", success, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
		does("body ended by close", success, "HTTP/1.1 200 OK\r\n\r\nok", (*Conn).Hangup),
		says("HTTP/1.0", success, "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
		says("three 1xx first", success, strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 3)+ok),
		says("20 KiB of headers", success, "HTTP/1.1 200 OK\r\n"+long+"Content-Length: 2\r\n\r\nok"),
		says("longer than it says", success, ok+"and more"),
		says("invalid UTF-8", success, answer(200, "caf\xe9 \xff\xfe \xed\xa0\x80 ok", "X-Latin: caf\xe9")),
		says("NUL in the body", success, answer(200, "a\x00b\x00")),
		says("terminal escapes and HTML", success, answer(200, "\x1b[2J<script>alert(1)</script>")),
		says("cut character", success, answer(200, strings.Repeat("x", 16<<10-1)+"é")),
		says("cookie", success, answer(200, "", "Set-Cookie: session=secret; Path=/")),
		says("NUL and invalid UTF-8 in the status line", success, "HTTP/1.1 200 \x00\xff\x1b[2J\r\nContent-Length: 0\r\n\r\n"),
		does("closes its half after the answer", success, ok, (*Conn).CloseHalf),
		{Name: "slow but in time", Want: success, Answer: func(c *Conn) {
			c.Pause(5 * dripEvery)
			c.Write(ok)
		}},
	}
	for _, code := range []int{201, 202, 204, 299} {
		all = append(all, Status(code))
	}
	return all
}

func refusals() []Behaviour {
	var all []Behaviour
	for _, code := range []int{
		301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 408, 409, 410, 413, 418, 422, 425, 429, 500, 501, 502, 503, 504, 599, 999,
	} {
		all = append(all, Status(code, "Location: http://127.0.0.1:1/inside"))
	}
	return append(all,
		says("101", Want{Class: webhook.ClassStatus, Status: 101}, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
		Behaviour{Name: "500 with a stalled body", Want: Want{Class: webhook.ClassStatus, Status: 500}, Answer: func(c *Conn) {
			c.Write("HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nsorry")
			c.Stall()
		}},
		says("NUL and invalid UTF-8 in a refusal", Want{Class: webhook.ClassStatus, Status: 500, Text: "receiver answered 500 Internal Server Error"},
			"HTTP/1.1 500 \x00\xff\x1b[2J\r\nX-Latin: caf\xe9\r\nContent-Length: 5\r\n\r\n\x00\xff\xfe\xed\xa0"),
		does("410 with a cut body", Want{Class: webhook.ClassStatus, Status: 410}, "HTTP/1.1 410 Gone\r\nContent-Length: 100\r\n\r\nx", (*Conn).Hangup),
	)
}

// redirects lead where a sender must not go.
func redirects() []Behaviour {
	var all []Behaviour
	for _, to := range []struct{ name, location string }{
		{"redirect loop", "/hook"},
		{"redirect to metadata", "http://169.254.169.254/latest/meta-data/"},
		{"redirect to loopback", "http://[::1]:1/"},
		{"redirect to a private network", "https://10.0.0.1/"},
		{"redirect to a file", "file:///etc/passwd"},
		{"redirect that cannot be parsed", "http://[::1%25\xff"},
	} {
		b := Status(307, "Location: "+to.location)
		b.Name, b.Want.Text = to.name, "redirects are not followed"
		all = append(all, b)
	}
	return all
}

func slow() []Behaviour {
	late := Want{Class: webhook.ClassTimeout, Text: "no answer within"}
	cut := Want{Class: webhook.ClassTimeout, Status: 200, Text: "not complete within"}
	long := strings.Repeat("x", 10_000)
	head := "HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n"
	// Each byte of these comes well within the timeout: a deadline for each read
	// would never strike.
	const patience = 2500 * time.Millisecond
	return []Behaviour{
		{Name: "drips the headers, a byte a second", Timeout: patience, Want: late, Answer: func(c *Conn) { c.Drip(head, time.Second) }},
		{Name: "drips the body, a byte a second", Timeout: patience, Want: cut, Answer: func(c *Conn) {
			c.Write(head)
			c.Drip(long, time.Second)
		}},
		{Name: "never answers", Want: late, Answer: (*Conn).Stall},
		does("stalls in the status line", late, "HTTP/1.1 2", (*Conn).Stall),
		does("stalls in the headers", late, "HTTP/1.1 200 OK\r\nContent-Le", (*Conn).Stall),
		does("stalls after a 1xx", late, "HTTP/1.1 100 Continue\r\n\r\n", (*Conn).Stall),
		does("stalls after the headers", cut, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", (*Conn).Stall),
		does("stalls in the body", cut, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", (*Conn).Stall),
		{Name: "drips the headers", Want: late, Answer: func(c *Conn) { c.Drip("HTTP/1.1 200 OK\r\nX: "+long, dripEvery) }},
		does("drips the body", cut, head, func(c *Conn) { c.Drip(long, dripEvery) }),
		does("drips 1xx", late, "", func(c *Conn) {
			c.Drip(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 400), dripEvery/10)
		}),
	}
}
