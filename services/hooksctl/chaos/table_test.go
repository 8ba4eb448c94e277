package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPublish_writesTheTableAndSaysWhere(t *testing.T) {
	t.Parallel()
	want := []result{{Fault: "f", Title: "a fault", Accepted: 3, Refused: map[string]int{unavailable: 2}, Owed: 9, Delivered: 8, Lost: 1, Broken: []string{"1 deliveries lost"}}}
	o := options{seed: 7, json: filepath.Join(t.TempDir(), tableFile)}
	var out strings.Builder
	if err := publish(&out, o, want); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"a fault", "2 UNAVAILABLE", "BROKEN", o.json} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the output lacks %q:\n%s", part, out.String())
		}
	}
	text, err := os.ReadFile(o.json)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Seed uint64
		Rows []result
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Seed != o.seed {
		t.Errorf("seed %d, error %v", got.Seed, err)
	}
	if diff := cmp.Diff(want, got.Rows); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}
