package config

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
)

// menu is a file of another kind than a worker's.
type menu struct {
	Share  float64         `yaml:"share"`
	Dishes map[string]dish `yaml:"dishes"`
}

// dish is an entry of its table.
type dish struct {
	Takes time.Duration `yaml:"takes"`
}

func TestOtherFilesAreReadAsStrictly(t *testing.T) {
	got := menu{Share: 0.5}
	noFaults := func() []Fault { return nil }
	if err := ParseInto([]byte("dishes:\n  soup: {takes: 5m}\n  Pie_2: {}\n"), &got, noFaults); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(menu{0.5, map[string]dish{"soup": {5 * time.Minute}, "Pie_2": {}}}, got); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]Fault{
		"share: half\n":                 {1, 1, "share", "must be a decimal number such as 0.25"},
		"share: .5\n":                   {1, 1, "share", "must be a decimal number such as 0.25"},
		"share: 0x1\n":                  {1, 1, "share", "must be a decimal number such as 0.25"},
		"dishes: soup\n":                {1, 1, "dishes", "must be a section of names and what each has"},
		"dishes: {a b: {takes: 1s}}\n":  {1, 10, "dishes", `a name must be 1 to 32 characters out of A-Z, a-z, 0-9, "_" and "-"`},
		"dishes:\n  a: {}\n  a: {}\n":   {3, 3, "dishes.a", "given twice; first on line 2"},
		"dishes: {a: {taks: 1s}}\n":     {1, 14, "dishes.a.taks", "unknown key; did you mean takes?"},
		"dishes: {a: 7}\n":              {1, 10, "dishes.a", "must be a section of keys and values"},
		"takes: 1s\n":                   {1, 1, "takes", "unknown key"},
		"dishes: {a: {takes: 1s}}\n---": {2, 1, "", "a second document starts here; only one is read"},
	} {
		err := ParseInto([]byte(text), new(menu), noFaults)
		faulty, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, capsign.ConfigInvalid) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff([]Fault{want}, faulty.Faults); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestFaultsOfValuesJoinThoseOfTheFile(t *testing.T) {
	err := ParseInto([]byte("dishes:\n  soup: {takes: soon}\nshare: 2\n"), new(menu), func() []Fault {
		return []Fault{{Key: "share", Problem: "must be at most 1"}, {Key: "dishes.soup.takes", Problem: "said already"}}
	})
	faulty, _ := errors.AsType[*Error](err)
	if faulty == nil || len(faulty.Faults) != 2 || faulty.Faults[1].Line != 3 {
		t.Errorf("%v", err)
	}
}
