package sendertest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func excessive() []Behaviour {
	success := Want{Status: 200}
	tooLong := Want{Class: webhook.ClassBody, Text: "headers exceed 32 KiB"}
	const flood = 1 << 30
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	kilobyte := strings.Repeat("x", 1024)
	return []Behaviour{
		says("64 KiB of body", success, answer(200, strings.Repeat("x", 64<<10))),
		does("1 GB body", success, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", func(c *Conn) { c.Flood(kilobyte, flood) }),
		does("endless body", success, chunked, func(c *Conn) { c.Flood("400\r\n"+kilobyte+"\r\n", flood) }),
		does("gzip bomb", success, "", func(c *Conn) { c.Write(answer(200, gzipBomb(), "Content-Encoding: gzip")) }),
		does("endless gzip bomb", success, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", func(c *Conn) { c.Flood(gzipBomb(), flood) }),
		says("5,000 short headers", success, shortHeaders(5_000)),
		says("10,000 short headers", tooLong, shortHeaders(10_000)),
		says("10,000 headers", tooLong, "HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Filler: x\r\n", 10_000)+"\r\n"),
		does("short headers, then a stall", Want{Class: webhook.ClassTimeout, Text: "no answer within"}, strings.TrimSuffix(shortHeaders(5_000), "\r\n"), (*Conn).Stall),
		does("1 MiB header", tooLong, "HTTP/1.1 200 OK\r\nX-Long: ", func(c *Conn) { c.Flood(kilobyte, 1<<20) }),
		does("endless headers", tooLong, "HTTP/1.1 200 OK\r\n", func(c *Conn) { c.Flood("X-Filler: x\r\n", flood) }),
		does("endless 1xx", tooLong, "", func(c *Conn) { c.Flood("HTTP/1.1 103 Early Hints\r\n\r\n", flood) }),
		does("long status line", tooLong, "HTTP/1.1 200 ", func(c *Conn) { c.Flood(kilobyte, flood) }),
		does("endless trailers", Want{Class: webhook.ClassBody, Status: 200}, chunked+"2\r\nok\r\n0\r\n", func(c *Conn) { c.Flood("X-Filler: x\r\n", flood) }),
		does("endless chunk extension", Want{Class: webhook.ClassBody, Status: 200}, chunked+"2;", func(c *Conn) { c.Flood(kilobyte, flood) }),
		does("tiny chunks with extensions", Want{Class: webhook.ClassBody, Status: 200}, chunked, func(c *Conn) { c.Flood("1;"+kilobyte+"\r\nx\r\n", flood) }),
	}
}

func retryAfters() []Behaviour {
	var all []Behaviour
	for _, tc := range []struct {
		value string
		want  time.Duration
	}{
		{"120", 2 * time.Minute},
		{"0", 0},
		{"-1", 0},
		{"soon", 0},
		{"\xff\xfe soon", 0},
		{"1000000000000", 24 * time.Hour},
		{"100000000000000000000", 24 * time.Hour},
		{"Fri, 31 Dec 9999 23:59:59 GMT", 24 * time.Hour},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 0},
		{"60\r\nRetry-After: 30", time.Minute},
	} {
		for _, code := range []int{429, 503} {
			b := Status(code, "Retry-After: "+tc.value)
			b.Name = fmt.Sprintf("%d with Retry-After %q", code, tc.value)
			b.Want.RetryAfter = tc.want
			all = append(all, b)
		}
	}
	return all
}

// shortHeaders is n header lines of 6 bytes with different names: what takes most
// memory for its length once it is parsed.
func shortHeaders(n int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	out := []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
	for i := range n {
		out = append(out, letters[i/676%26], letters[i/26%26], letters[i%26], ':', '\r', '\n')
	}
	return string(append(out, '\r', '\n'))
}

// gzipBomb is 10 KiB that unpack to 10 MiB. It takes much more to make one: it is
// made once.
var gzipBomb = sync.OnceValue(func() string { //nolint:gochecknoglobals // made once, never assigned
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	zeros := make([]byte, 1<<20)
	for range 10 {
		_, _ = w.Write(zeros) // a bytes.Buffer takes everything
	}
	_ = w.Close()
	return out.String()
})
