package sendertest

import (
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

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
		Behaviour{Name: "certificates without end", TLS: LongChain, Want: Want{Class: webhook.ClassTLS, Text: "TLS handshake exceeds 64 KiB"}},
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

// afterHello acts once the sender has begun its handshake.
func afterHello(act func(*Conn)) func(*Conn) {
	return func(c *Conn) {
		_, _ = c.in.Peek(1)
		act(c)
	}
}

// Frames of HTTP/2: length, type, flags, stream, payload (RFC 9113, section 4.1).
const (
	settingsFrame = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	// goAwayFrame says that no request was acted on: HTTP/2 clients repeat theirs.
	goAwayFrame = "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
	// refusedFrame is RST_STREAM with REFUSED_STREAM, which clients repeat after, too.
	refusedFrame = "\x00\x00\x04\x03\x00\x00\x00\x00\x01" + "\x00\x00\x00\x07"
)

// http2 is spoken to nobody who did not agree to it. A sender that does agree
// must meet the same ends: one request, and a class that says what happened.
func http2() []Behaviour {
	garbled := Want{Class: webhook.ClassBody, Text: "not valid HTTP"}
	late := Want{Class: webhook.ClassTimeout, Text: "no answer within"}
	var all []Behaviour
	for _, variant := range []struct {
		name string
		tls  Variant
	}{{"", Plain}, {" over TLS", Valid}} {
		for _, b := range []Behaviour{
			does("HTTP/2 GOAWAY", garbled, settingsFrame+goAwayFrame, (*Conn).Hangup),
			does("HTTP/2 GOAWAY and a hang", late, settingsFrame+goAwayFrame, (*Conn).Stall),
			does("HTTP/2 RST_STREAM", garbled, settingsFrame+refusedFrame, (*Conn).Hangup),
			does("HTTP/2 RST_STREAM and a hang", late, settingsFrame+refusedFrame, (*Conn).Stall),
		} {
			b.Name, b.TLS = b.Name+variant.name, variant.tls
			all = append(all, b)
		}
	}
	return append(all,
		Behaviour{
			Name: "TLS for another protocol only", TLS: OtherProtocol,
			Want: Want{Class: webhook.ClassTLS, Text: "ended the TLS handshake: no application protocol"},
		},
		Behaviour{Name: "HTTP/2 preferred, with GOAWAY", TLS: HTTP2Preferred, Want: Want{Status: 200}, Greet: unlessHTTP1(goAwayFrame)},
		Behaviour{Name: "HTTP/2 preferred, with RST_STREAM", TLS: HTTP2Preferred, Want: Want{Status: 200}, Greet: unlessHTTP1(refusedFrame)},
	)
}

// unlessHTTP1 answers in HTTP/2 to those who agreed to speak it, and lets the
// others go on to be answered.
func unlessHTTP1(frame string) func(*Conn) {
	return func(c *Conn) {
		if c.Protocol() == "h2" {
			_, _ = c.in.Peek(1)
			c.Write(settingsFrame + frame)
			c.Stall()
		}
	}
}
