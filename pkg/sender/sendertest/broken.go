package sendertest

import (
	"strings"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// cutOff is every point at which a connection can end too early.
func cutOff() []Behaviour {
	torn := Want{Class: webhook.ClassBody}      // a part of a status line reads as a bad one
	anyWay := Want{Class: webhook.ClassConnect} // closing with a request unread resets the connection
	closed := Want{Class: webhook.ClassConnect, Text: "closed by the receiver before it answered"}
	reset := Want{Class: webhook.ClassConnect, Text: "reset by the receiver"}
	short := Want{Class: webhook.ClassBody, Text: "cut short"}
	shortBody := Want{Class: webhook.ClassBody, Status: 200, Text: "cut short"}
	promise := "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n"
	return []Behaviour{
		{Name: "closes at once", Want: anyWay, Greet: (*Conn).Hangup},
		{Name: "resets at once", Want: anyWay, Greet: (*Conn).Reset},
		does("closes without an answer", closed, "", (*Conn).Hangup),
		does("closes its half without an answer", closed, "", func(c *Conn) {
			c.CloseHalf()
			c.Stall()
		}),
		does("resets without an answer", reset, "", (*Conn).Reset),
		does("closes in the status line", torn, "HTTP/1.1 20", (*Conn).Hangup),
		does("resets in the status line", torn, "HTTP/1.1 20", (*Conn).Reset),
		does("closes after the status line", short, "HTTP/1.1 200 OK\r\n", (*Conn).Hangup),
		does("closes in the headers", short, promise, (*Conn).Hangup),
		does("resets in the headers", short, promise, (*Conn).Reset),
		does("closes in the body", shortBody, promise+"\r\nok", (*Conn).Hangup),
		does("closes its half in the body", shortBody, promise+"\r\nok", func(c *Conn) {
			c.CloseHalf()
			c.Stall()
		}),
		does("closes in a chunk", shortBody, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nok", (*Conn).Hangup),
		does("resets in the body", shortBody, promise+"\r\nok", (*Conn).Reset),
		does("shorter than the largest length", shortBody, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nok", (*Conn).Hangup),
	}
}

// broken is what is not HTTP.
func broken() []Behaviour {
	garbled := Want{Class: webhook.ClassBody, Text: "not valid HTTP"}
	return []Behaviour{
		says("two lengths", garbled, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
		says("negative length", garbled, "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
		says("length beyond counting", garbled, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok"),
		says("bad chunk", Want{Class: webhook.ClassBody, Status: 200, Text: "malformed"}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok"),
		says("status 000", Want{Class: webhook.ClassBody, Text: "not a valid one"}, answer(0, "")),
		says("long status", garbled, "HTTP/1.1 20000 OK\r\n\r\n"),
		says("no HTTP", garbled, "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
		says("NUL in a header", garbled, "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n"),
		says("header without a colon", garbled, "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
		says("binary", garbled, strings.Repeat("\x00\xff", 100)+"\r\n\r\n"),
	}
}
