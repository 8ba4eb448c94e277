package sender_test

import (
	"bufio"
	"io"
	"net/http"
	"testing"

	"github.com/crm-webhooks/crm-webhooks/pkg/sender"
	"github.com/crm-webhooks/crm-webhooks/pkg/sender/sendertest"
	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// FuzzAnswer: whatever bytes a receiver answers with, the attempt has a class, a
// readable error and contents that can be stored.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		"", "\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 503 \xff\r\nRetry-After: 120\r\nX: caf\xe9\r\n\r\n\x00\xff",
		"HTTP/1.1 103 E\r\n\r\nHTTP/1.1 204 N\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nT: x\r\n\r\n",
		"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw", "HTTP/1.1 410 G\r\nSet-Cookie: a=b\r\n\r\n", "HTTP/1.1 000 \r\n\r\n",
		"HTTP/1.0 307 \r\nLocation: /hook\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00",
	} {
		f.Add([]byte(seed))
	}
	var text string
	r := sendertest.New(f, sendertest.Behaviour{Greet: func(c *sendertest.Conn) {
		defer c.Hangup()
		req, err := http.ReadRequest(bufio.NewReader(c.Conn))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		c.Write(text)
	}})
	s := newSender(f, sender.Config{})
	req := request(f, r.URL)
	f.Fuzz(func(t *testing.T, answer []byte) {
		text = string(answer)
		a := send(t, s, req)
		if a.OK() != (a.Error == "") || a.OK() && !webhook.SuccessStatus(a.ResponseStatus) {
			t.Errorf("class %q, status %d, error %q", a.ErrorClass, a.ResponseStatus, a.Error)
		}
		if a.RetryAfter < 0 || a.RetryAfter > webhook.MaxRetryAfter {
			t.Errorf("Retry-After = %s", a.RetryAfter)
		}
		checkReadable(t, a.Error)
		checkStorable(t, a)
	})
}
