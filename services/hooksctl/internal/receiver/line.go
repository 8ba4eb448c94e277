package receiver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/crm-webhooks/crm-webhooks/services/hooksctl/internal/console"
)

// Line describes a request in one line. What came with it is quoted where it
// could play tricks on a terminal.
func Line(c *console.Console, r Request) string {
	mark, verdict := c.Good("ok  "), "verified"
	switch {
	case r.Fault != nil:
		mark, verdict = c.Bad("FAIL"), c.Bad(r.Fault.Error())
	case !r.Verified:
		mark, verdict = c.Warn("?   "), c.Warn("not verified, no --secret given")
	}
	if r.Status >= http.StatusMultipleChoices && r.Fault == nil {
		mark = c.Warn("ok  ")
	}
	return fmt.Sprintf("%s  %s  %s  %s  attempt %s  %d bytes  %s, answered %d",
		c.Dim(r.At.Format(time.TimeOnly)), mark, c.Bold(plain(r.EventType)), plain(r.EventID), plain(r.Attempt),
		len(r.Body), verdict, r.Status)
}

// plain keeps a text from a stranger printable, and says so when there is none.
func plain(text string) string {
	if text == "" {
		return "-"
	}
	printable := func(r rune) bool { return r > ' ' && r <= '~' }
	if strings.IndexFunc(text, func(r rune) bool { return !printable(r) }) >= 0 {
		return fmt.Sprintf("%+q", text)
	}
	return text
}

// Body returns the body for people: indented when it is JSON, quoted when it is
// not, because then it may be anything.
func Body(r Request) string {
	var indented bytes.Buffer
	if json.Indent(&indented, r.Body, "", "  ") != nil {
		return strconv.QuoteToASCII(string(r.Body))
	}
	return indented.String()
}
