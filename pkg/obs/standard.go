package obs

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"strings"
)

// TakeStandardLog has libraries that log on their own write to l. What they quote
// is left out: net/http quotes up to 4 KiB of what a receiver sends unasked, and
// what strangers say does not belong in a log.
func TakeStandardLog(l *slog.Logger) {
	slog.SetDefault(l)
	log.SetFlags(0)
	log.SetOutput(unquoted{l})
}

type unquoted struct{ log *slog.Logger }

// Write logs one message.
func (u unquoted) Write(p []byte) (int, error) {
	text := string(bytes.TrimSpace(p))
	if said, _, quotes := strings.Cut(text, `"`); quotes {
		text = strings.TrimSpace(said) + " (what is quoted is left out)"
	}
	u.log.LogAttrs(context.Background(), slog.LevelWarn, "a library says", slog.String(KeyErr, text))
	return len(p), nil
}
