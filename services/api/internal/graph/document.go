package graph

import (
	"encoding/json"
	"strconv"
	"strings"
)

const (
	// numberMark starts a string that stands for a number. A JSON literal cannot
	// hold U+0000 for any other purpose: no receiver could store it.
	numberMark    = "\x00number:"
	numberMarkGQL = `\u0000number:`
)

// exactNumbers spells the numbers of JSON literals so that they survive.
//
// The library reads 1.10 as 1.1 and stops at integers beyond 64 bits; `object`
// must reach receivers unchanged, so such numbers travel as marked strings.
func exactNumbers(document string) string {
	if !strings.Contains(document, "object") && !strings.Contains(document, "previous") {
		return document
	}
	s := documentScanner{text: document}
	s.scan()
	s.out.WriteString(document[s.copied:])
	return s.out.String()
}

// documentScanner walks the tokens of a document. It judges nothing: what is not
// GraphQL is left for the parser to refuse.
type documentScanner struct {
	text    string
	at      int
	parens  int // open ( : inside are arguments and variables, outside selections
	literal int // open { and [ of a JSON literal
	name    string

	out    strings.Builder
	copied int // text up to here is in out
}

func (s *documentScanner) scan() {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '#':
			s.skipComment()
		case c == '"':
			s.skipString()
			s.name = ""
		case isNameStart(c):
			s.name = s.take(isNamePart)
		case c >= '0' && c <= '9', c == '-':
			s.number()
			s.name = ""
		default:
			s.punctuation(c)
			s.at++
		}
	}
}

// token returns the next name or punctuator, `"` for a string, 0 for a number, and
// nothing at the end.
func (s *documentScanner) token() string {
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '#':
			s.skipComment()
		case c == '"':
			s.skipString()
			return `"`
		case isNameStart(c):
			return s.take(isNamePart)
		case c >= '0' && c <= '9', c == '-':
			s.at++
			s.take(isNumberPart)
			return "0"
		case c == ' ', c == '\t', c == '\r', c == '\n', c == ',':
			s.at++
		default:
			s.at++
			return s.text[s.at-1 : s.at]
		}
	}
	return ""
}

func (s *documentScanner) punctuation(c byte) {
	switch c {
	case '(':
		s.parens++
	case ')':
		s.parens--
	case '{', '[':
		if s.literal > 0 || s.parens > 0 && (s.name == "object" || s.name == "previous") {
			s.literal++
		}
	case '}', ']':
		if s.literal > 0 {
			s.literal--
		}
	case ':', ' ', '\t', '\r', '\n', ',':
		return // the name before it counts for the value behind it
	}
	s.name = ""
}

// number marks a number of a JSON literal that the library would change.
func (s *documentScanner) number() {
	start := s.at
	s.at++
	number := s.text[start:start+1] + s.take(isNumberPart)
	if s.literal == 0 || !json.Valid([]byte(number)) {
		return
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil && strconv.FormatInt(n, 10) == number {
		return
	}
	s.out.WriteString(s.text[s.copied:start])
	s.out.WriteString(`"` + numberMarkGQL + number + `"`)
	s.copied = s.at
}

func (s *documentScanner) skipString() {
	if strings.HasPrefix(s.text[s.at:], `"""`) {
		s.at += 3
		for s.at < len(s.text) && !strings.HasPrefix(s.text[s.at:], `"""`) {
			s.at++
		}
		s.at = min(s.at+3, len(s.text))
		return
	}
	for s.at++; s.at < len(s.text) && s.text[s.at] != '"' && s.text[s.at] != '\n'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
	s.at = min(s.at+1, len(s.text))
}

func (s *documentScanner) skipComment() {
	i := strings.IndexAny(s.text[s.at:], "\r\n")
	if i < 0 {
		s.at = len(s.text)
		return
	}
	s.at += i
}

func (s *documentScanner) take(part func(byte) bool) string {
	start := s.at
	for s.at < len(s.text) && part(s.text[s.at]) {
		s.at++
	}
	return s.text[start:s.at]
}

func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func isNamePart(c byte) bool { return isNameStart(c) || c >= '0' && c <= '9' }

// isNumberPart also takes what makes a number malformed: the parser says so.
func isNumberPart(c byte) bool { return isNamePart(c) || c == '.' || c == '+' || c == '-' }
