package graph_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

// TestConnection_pagesBothWays walks a list of seven from either end; the pages
// must be the same whatever their size.
func TestConnection_pagesBothWays(t *testing.T) {
	t.Parallel()
	const total = 7
	f := &fake{hooks: webhooks(acme, 0, total)}
	var newestFirst []string
	for n := total - 1; n >= 0; n-- {
		newestFirst = append(newestFirst, hookID(n).String())
	}
	for size := 1; size <= total+1; size++ {
		for _, dir := range []struct{ size, cursor, from, more string }{
			{"first", "after", "endCursor", "hasNextPage"},
			{"last", "before", "startCursor", "hasPreviousPage"},
		} {
			var seen []string
			var cursor any
			for page := 0; ; page++ {
				args := fmt.Sprintf("%s: %d", dir.size, size)
				if cursor != nil {
					args += fmt.Sprintf(", %s: %q", dir.cursor, cursor)
				}
				got := runAs(t, f, `{ webhooks(`+args+`) { edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }`, "")
				if len(got.Errors) > 0 {
					t.Fatal(got.Errors)
				}
				var ids []string
				for _, node := range is[[]any](t, got.at(t, "webhooks.nodes")) {
					ids = append(ids, is[string](t, is[map[string]any](t, node)["id"]))
				}
				if dir.size == "first" {
					seen = append(seen, ids...)
				} else {
					seen = append(ids, seen...)
				}
				if n := got.at(t, "webhooks.totalCount"); n != float64(total) {
					t.Fatalf("totalCount = %v", n)
				}
				edges := is[[]any](t, got.at(t, "webhooks.edges"))
				if first := is[map[string]any](t, edges[0])["cursor"]; first != got.at(t, "webhooks.pageInfo.startCursor") {
					t.Errorf("startCursor is not the first edge's")
				}
				back := got.at(t, "webhooks.pageInfo.hasPreviousPage")
				if dir.size == "first" && back != (page > 0) {
					t.Errorf("%s: page %d: hasPreviousPage = %v", args, page, back)
				}
				cursor = got.at(t, "webhooks.pageInfo."+dir.from)
				if more := got.at(t, "webhooks.pageInfo."+dir.more); more != true {
					break
				}
			}
			if strings.Join(seen, " ") != strings.Join(newestFirst, " ") {
				t.Errorf("%s: %d: pages show %v, want %v", dir.size, size, seen, newestFirst)
			}
		}
	}
}

func TestConnection_emptyPageHasNoCursors(t *testing.T) {
	t.Parallel()
	got := runAs(t, &fake{}, `{ webhooks { edges { cursor } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }`, "")
	want := map[string]any{
		"edges": []any{}, "nodes": []any{}, "totalCount": 0.0,
		"pageInfo": map[string]any{"hasNextPage": false, "hasPreviousPage": false, "startCursor": nil, "endCursor": nil},
	}
	if data := got.at(t, "webhooks"); !equal(data, want) {
		t.Errorf("webhooks = %v, want %v", data, want)
	}
}

// TestConnection_loadsWhatIsSelected: rows and counts cost a statement each, so
// neither is made for nothing, nor twice.
func TestConnection_loadsWhatIsSelected(t *testing.T) {
	t.Parallel()
	for selection, want := range map[string]map[string]int{
		"totalCount": {"CountWebhooks": 1},
		"nodes { id } edges { cursor node { name } } pageInfo { endCursor }": {"Webhooks": 1},
		"nodes { id } totalCount again: totalCount":                          {"Webhooks": 1, "CountWebhooks": 1},
		"__typename": nil,
	} {
		f := &fake{hooks: webhooks(acme, 0, 3)}
		if got := runAs(t, f, `{ webhooks { `+selection+` } }`, ""); len(got.Errors) > 0 {
			t.Fatal(got.Errors)
		}
		if !equal(f.calls, want) {
			t.Errorf("%s: calls = %v, want %v", selection, f.calls, want)
		}
	}
}

func TestConnection_badArguments(t *testing.T) {
	t.Parallel()
	cursor := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	hook, delivery := cursor("1:"+hookID(1).String()), cursor("1:dlv_0192f0c1d2e37a4b8c5d6e7f80912a3b")
	for args, want := range map[string]string{
		`webhooks(first: 0)`:                            "first must be between 1 and 100",
		`webhooks(first: 101)`:                          "first must be between 1 and 100",
		`webhooks(first: -1)`:                           "first must be between 1 and 100",
		`webhooks(last: 0)`:                             "last must be between 1 and 100",
		`webhooks(first: 1, last: 1)`:                   "first must not be given together with last",
		`webhooks(after: "")`:                           "after must be a cursor that this list returned",
		`webhooks(after: "§")`:                          "after must be a cursor that this list returned",
		`webhooks(before: "` + delivery + `")`:          "before must be a cursor that this list returned",
		`webhooks(after: "` + hook + `=")`:              "after must be a cursor that this list returned",
		`webhooks(after: "` + cursor("2:"+hook) + `")`:  "after must be a cursor that this list returned",
		`webhookDeliveries(after: "` + hook + `")`:      "after must be a cursor that this list returned",
		`webhookDeliveries(first: 500)`:                 "first must be between 1 and 100",
		`webhooks(filter: {search: "a\u0000b"})`:        "filter.search must have at most 2048 bytes and no control characters",
		`webhooks(first: 1, after: null, last: 5)`:      "first must not be given together with last",
		`webhookDeliveries(webhookId: "rot", first: 0)`: "first must be between 1 and 100",
	} {
		f := &fake{}
		got := runAs(t, f, `{ `+args+` { nodes { id } } }`, "")
		if code := got.code(t); code != "BAD_USER_INPUT" || got.Errors[0].Message != want {
			t.Errorf("%s: %v, want BAD_USER_INPUT: %s", args, got.Errors, want)
		}
		if len(f.calls) > 0 {
			t.Errorf("%s: calls = %v", args, f.calls)
		}
	}
}

func TestConnection_acceptsItsOwnCursors(t *testing.T) {
	t.Parallel()
	f := &fake{hooks: webhooks(acme, 0, 1)}
	f.deliveries = deliveries(f.hooks[0], 3)
	got := runAs(t, f, `{ webhookDeliveries(first: 1) { pageInfo { endCursor } } }`, "")
	cursor := is[string](t, got.at(t, "webhookDeliveries.pageInfo.endCursor"))
	if strings.Contains(cursor, "=") {
		t.Errorf("cursor %q needs escaping in a URL", cursor)
	}
	got = runAs(t, f, `query($after: String) { webhooks { nodes { deliveries(first: 5, after: $after) { nodes { id } pageInfo { hasPreviousPage } } } } }`, `{"after": "`+cursor+`"}`)
	nodes := is[[]any](t, got.at(t, "webhooks.nodes.0.deliveries.nodes"))
	if len(nodes) != 2 {
		t.Errorf("nodes = %v, want the two older ones", nodes)
	}
}
