package main

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

func TestCodesPageIsUpToDate(t *testing.T) {
	page, err := os.ReadFile("../../docs/codes.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(codesPage(), string(page)); diff != "" {
		t.Errorf("docs/codes.md is stale; run go generate ./capsign (-want +got):\n%s", diff)
	}
}

func TestEveryExitStatusIsExplained(t *testing.T) {
	used := map[int]bool{}
	for _, code := range capsign.Codes() {
		used[code.ExitStatus()] = true
		if exitMeanings[code.ExitStatus()] == "" {
			t.Errorf("%s exits with %d, which the page does not explain", code, code.ExitStatus())
		}
	}
	for status := range exitMeanings {
		if !used[status] {
			t.Errorf("the page explains %d, which no code exits with", status)
		}
	}
}
