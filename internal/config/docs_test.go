package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documented finds the whole configurations in a page: indented by four, from
// "key:" on.
var documented = regexp.MustCompile(`(?m)^    key:\n(?:      .*\n)+`)

func TestDocumentedConfigurationsLoad(t *testing.T) {
	pages, err := filepath.Glob("../../docs/providers/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, page := range pages {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, example := range documented.FindAllString(string(data), -1) {
			found++
			if _, err := Parse([]byte(strings.ReplaceAll("\n"+example, "\n    ", "\n"))); err != nil {
				t.Errorf("%s: %v\n%s", filepath.Base(page), err, example)
			}
		}
	}
	if found < 7 {
		t.Errorf("%d configurations in the pages, want at least 7", found)
	}
}
