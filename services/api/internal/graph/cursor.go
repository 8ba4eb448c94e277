package graph

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/crm-webhooks/crm-webhooks/pkg/webhook"
)

// cursorVersion starts a cursor. It changes when the order of a list does, so
// that an old cursor is refused instead of pointing somewhere else.
const cursorVersion = "1:"

// A cursor is the id of a row: lists are ordered by id, so it stays valid while
// rows are added, and when its own row is gone. Ids are no secrets and a list is
// always confined to a tenant, so a foreign cursor is harmless.
func encodeCursor(id fmt.Stringer) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorVersion + id.String()))
}

// decodeCursor refuses the cursors of other lists: their ids are of another kind.
func decodeCursor[ID any](argument string, cursor *text, parse func(string) (ID, error)) (*ID, error) {
	if cursor == nil {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(string(*cursor))
	rest, current := strings.CutPrefix(string(raw), cursorVersion)
	if err != nil || !current {
		return nil, badCursor(argument)
	}
	id, err := parse(rest)
	if err != nil {
		return nil, badCursor(argument)
	}
	return &id, nil
}

func badCursor(argument string) error {
	return webhook.Invalid(argument, "must be a cursor that this list returned")
}
