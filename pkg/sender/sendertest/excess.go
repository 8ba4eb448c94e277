package sendertest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

func excessive() []Behaviour {
	success := Want{Status: 200}
	tooLong := Want{Class: webhook.ClassBody, Text: "headers exceed 64 KiB"}
	const flood = 32 << 20
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	kilobyte := strings.Repeat("x", 1024)
	return []Behaviour{
		says("64 KiB", success, answer(200, strings.Repeat("x", 64<<10))),
		does("huge body", success, "HTTP/1.1 200 OK\r\nContent-Length: 33554432\r\n\r\n", func(c *Conn) { c.Flood(kilobyte, flood) }),
		does("endless body", success, chunked, func(c *Conn) { c.Flood("400\r\n"+kilobyte+"\r\n", flood) }),
		does("gzip bomb", success, "", func(c *Conn) { c.Write(answer(200, gzipBomb(), "Content-Encoding: gzip")) }),
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
		{"-5", 0},
		{"soon", 0},
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

func badTLS() []Behaviour {
	var all []Behaviour
	for _, tc := range []struct {
		name string
		tls  Variant
		want string
	}{
		{"self-signed certificate", SelfSigned, "certificate is self-signed"},
		{"expired certificate", Expired, "certificate is expired"},
		{"certificate not yet valid", NotYetValid, "certificate is not valid yet"},
		{"certificate of another host", WrongHost, "certificate is not valid for the host name"},
		{"certificate with a common name only", CommonNameOnly, "certificate is not valid for the host name"},
		{"certificate of an unknown authority", UnknownRoot, "certificate is signed by an unknown authority"},
		{"TLS 1.0", TLS10, "does not support TLS 1.2"},
		{"TLS 1.1", TLS11, "does not support TLS 1.2"},
		{"client certificate wanted", ClientCertificate, "ended the TLS handshake: certificate required"},
	} {
		all = append(all, Behaviour{Name: tc.name, TLS: tc.tls, Want: Want{Class: webhook.ClassTLS, Text: tc.want}})
	}
	return append(all,
		Behaviour{Name: "valid TLS", TLS: Valid, Want: Want{Status: 200}},
		Behaviour{Name: "TLS never answers", TLS: NoTLS, Greet: (*Conn).Stall, Want: Want{Class: webhook.ClassTimeout, Text: "no TLS handshake within"}},
		Behaviour{Name: "TLS reset", TLS: NoTLS, Greet: afterHello((*Conn).Reset), Want: Want{Class: webhook.ClassTLS, Text: "closed during the TLS handshake"}},
		Behaviour{Name: "TLS closed", TLS: NoTLS, Greet: afterHello((*Conn).Hangup), Want: Want{Class: webhook.ClassTLS, Text: "closed during the TLS handshake"}},
		Behaviour{Name: "HTTP on a TLS port", TLS: NoTLS, Want: Want{Class: webhook.ClassTLS, Text: "does not speak TLS"}, Greet: func(c *Conn) {
			c.Write("HTTP/1.1 400 Bad Request\r\n\r\n")
			c.Stall()
		}},
		Behaviour{Name: "TLS never answers HTTP", TLS: Valid, Want: Want{Class: webhook.ClassTimeout, Text: "no answer within"}, Answer: (*Conn).Stall},
		Behaviour{Name: "TLS closed without an answer", TLS: Valid, Want: Want{Class: webhook.ClassConnect, Text: "before it answered"}, Answer: (*Conn).Cut},
	)
}

// gzipBomb is 10 KiB that unpack to 10 MiB.
func gzipBomb() string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	zeros := make([]byte, 1<<20)
	for range 10 {
		_, _ = w.Write(zeros) // a bytes.Buffer takes everything
	}
	_ = w.Close()
	return out.String()
}

// afterHello acts once the sender has begun its handshake.
func afterHello(act func(*Conn)) func(*Conn) {
	return func(c *Conn) {
		_, _ = c.in.Peek(1)
		act(c)
	}
}
