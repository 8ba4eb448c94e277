package webhook

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxNameLength        = 100
	maxDescriptionLength = 1000
	maxReferenceLength   = 255
)

// parseName trims and accepts 1 to 100 characters on one line.
func parseName(s string) (string, *Error) {
	s = strings.TrimSpace(s)
	if fault := checkText("name", s, false); fault != nil {
		return "", fault
	}
	if n := utf8.RuneCountInString(s); n < 1 || n > maxNameLength {
		return "", Invalid("name", "must have 1 to 100 characters")
	}
	return s, nil
}

// parseDescription trims and accepts up to 1,000 characters, line breaks included.
func parseDescription(s string) (string, *Error) {
	s = strings.TrimSpace(s)
	if fault := checkText("description", s, true); fault != nil {
		return "", fault
	}
	if utf8.RuneCountInString(s) > maxDescriptionLength {
		return "", Invalid("description", "must have at most 1000 characters")
	}
	return s, nil
}

// checkText refuses what PostgreSQL, a terminal or a log line would choke on.
func checkText(field, s string, multiline bool) *Error {
	if !utf8.ValidString(s) {
		return Invalid(field, "must be valid UTF-8")
	}
	for _, c := range s {
		if unicode.IsControl(c) && (!multiline || c != '\n' && c != '\r' && c != '\t') {
			return Invalid(field, "must not contain control characters")
		}
	}
	return nil
}

// checkReference accepts what names something in the caller's world: 1 to 255
// printable characters that neither start nor end with a space. It is never
// trimmed, so that what comes back is what was sent.
func checkReference(field, s string) *Error {
	printable := utf8.ValidString(s) && !strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) })
	if n := utf8.RuneCountInString(s); n < 1 || n > maxReferenceLength || !printable {
		return Invalid(field, "must have 1 to 255 printable characters")
	}
	if strings.Trim(s, " ") != s {
		return Invalid(field, "must not start or end with a space")
	}
	return nil
}
