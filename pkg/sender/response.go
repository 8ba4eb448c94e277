package sender

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

const (
	maxReadBytes = 64 << 10
	maxKeptBytes = 16 << 10

	maxFields          = 50
	maxFieldValueBytes = 1 << 10
	maxFieldBytes      = 8 << 10
)

// read returns the beginning of the answer's body, fit for storage. An error
// means that the body ended before its end; a body that is merely too long is
// left there, with its connection.
func (s *Sender) read(resp *http.Response) (string, error) {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Body == http.NoBody {
		return "", nil // the body of a 101 is the connection itself
	}
	buf := s.buffers.Get().(*[maxKeptBytes]byte) //nolint:errcheck,forcetypeassert // by New
	defer s.buffers.Put(buf)
	n, err := fill(resp.Body, buf[:])
	text := clean(string(buf[:n]), maxKeptBytes)
	if err == nil {
		_, err = io.CopyN(io.Discard, resp.Body, maxReadBytes-maxKeptBytes)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return text, err
}

// fill reads until buf is full. Unlike io.ReadFull it tells a body's end, io.EOF,
// from a body cut short, io.ErrUnexpectedEOF.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// responseFields returns the header lines in the order of their names: at most
// 50, and 8 KiB in all.
func responseFields(h http.Header, echoed echoes) []webhook.Field {
	fields := make([]webhook.Field, 0, min(len(h), maxFields))
	left := maxFieldBytes
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			field := webhook.MaskHeader(webhook.Header{
				Name:  clean(name, maxFieldValueBytes),
				Value: clean(echoed.mask(value), maxFieldValueBytes),
			})
			left -= len(field.Name) + len(field.Value)
			if left < 0 || len(fields) == maxFields {
				return fields
			}
			fields = append(fields, field)
		}
	}
	return fields
}

// clean returns s without NUL, which PostgreSQL's text refuses, with U+FFFD in
// place of invalid UTF-8, cut between characters to at most limit bytes.
func clean(s string, limit int) string {
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "")
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(trimCutRune(s), "\uFFFD")
	}
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// trimCutRune drops the beginning of a character that the end of s cut off.
func trimCutRune(s string) string {
	for i := 1; i < utf8.UTFMax && i <= len(s); i++ {
		tail := s[len(s)-i:]
		if utf8.RuneStart(tail[0]) {
			if !utf8.FullRuneInString(tail) {
				return s[:len(s)-i]
			}
			break
		}
	}
	return s
}

// statusText never repeats the receiver's own words.
func statusText(code int) string {
	text := "receiver answered " + strconv.Itoa(code)
	if name := http.StatusText(code); name != "" {
		text += " " + name
	}
	if code >= 300 && code <= 399 {
		text += "; redirects are not followed"
	}
	return text
}
