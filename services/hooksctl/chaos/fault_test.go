package main

import (
	"os"
	"strings"
	"testing"
)

func TestFaults_haveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range faults() {
		if seen[f.name] || seen[f.title] || f.strike == nil || strings.Trim(f.name, "abcdefghijklmnopqrstuvwxyz-") != "" {
			t.Errorf("fault %q, %q", f.name, f.title)
		}
		seen[f.name], seen[f.title] = true, true
	}
}

func TestFaults_haveRunbooks(t *testing.T) {
	t.Parallel()
	const folder = "../../../deploy/runbooks/"
	index, err := os.ReadFile(folder + "README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults() {
		if f.name == "none" {
			continue
		}
		page := f.runbook()
		if _, err := os.Stat(folder + page); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
		if !strings.Contains(string(index), "("+page+")") {
			t.Errorf("%s is not in the index of runbooks", page)
		}
	}
}
