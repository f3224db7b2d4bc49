package cli

import (
	"fmt"
	"strings"
)

const (
	// valueColumns is what a label leaves of 80 columns.
	valueColumns = 65
	// maxShown is the most characters of a value that are shown: a record on the
	// broker may hold any number.
	maxShown = 4 * valueColumns
)

// line writes one value with its label, on as many lines of 80 columns as the
// value needs.
func line(page *strings.Builder, label, value string) {
	for _, part := range wrap(cut(printable(value), maxShown), valueColumns) {
		fmt.Fprintf(page, "%-13s  %s\n", label, part)
		label = ""
	}
}

// cut returns s, or what there is room for of it and an ellipsis.
func cut(s string, limit int) string {
	if runes := []rune(s); len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return s
}

// wrap breaks s into lines of so many columns at its spaces, and elsewhere where
// a word is longer than a line.
func wrap(s string, columns int) []string {
	var lines []string
	for width(s) > columns {
		end, space, used := 0, 0, 0
		for i, r := range s {
			if used += runeWidth(r); used > columns {
				end = i
				break
			}
			if r == ' ' {
				space = i
			}
		}
		if s[end] == ' ' || space == 0 {
			space = end
		}
		lines = append(lines, s[:space])
		s = strings.TrimPrefix(s[space:], " ")
	}
	return append(lines, s)
}

// width returns how many columns s takes, or more.
func width(s string) int {
	columns := 0
	for _, r := range s {
		columns += runeWidth(r)
	}
	return columns
}

// runeWidth returns 2 where a terminal may draw a character that wide: those of
// East Asia and the pictures come after the alphabets and the punctuation.
func runeWidth(r rune) int {
	if r >= 0x1100 && (r < 0x2000 || r >= 0x2e80) && r != '\ufffd' {
		return 2
	}
	return 1
}
