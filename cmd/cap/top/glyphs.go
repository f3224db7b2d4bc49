package top

import (
	"cmp"
	"os"
	"strings"
)

// glyphs are the characters beyond letters and digits.
type glyphs struct {
	bars  []rune // from nothing to the most
	dot   string // between things
	more  string // where a line is cut
	micro string
	keys  string // those that scroll
}

// The characters of a terminal that shows Unicode, and of one that may not.
var (
	unicode = glyphs{[]rune(" ▁▂▃▄▅▆▇█"), " · ", "…", "µ", "↑↓"}
	ascii   = glyphs{[]rune(" _.:-=+*#"), " | ", "~", "u", "up/down"}
)

// localGlyphs returns what the locale's character set has.
func localGlyphs() glyphs {
	locale := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"))
	charset := strings.ToLower(strings.ReplaceAll(locale, "-", ""))
	if strings.Contains(charset, "utf8") {
		return unicode
	}
	return ascii
}

// spark draws numbers as bars of up to so many columns, the newest last. The
// highest bar is the largest number.
func (g glyphs) spark(numbers []uint64, columns int) string {
	numbers = numbers[max(len(numbers)-columns, 0):]
	var most uint64
	for _, n := range numbers {
		most = max(most, n)
	}
	bars := make([]rune, len(numbers))
	for i, n := range numbers {
		height := 0
		if n > 0 { // any at all can be seen
			height = max(int(float64(n)/float64(most)*float64(len(g.bars)-1)), 1)
		}
		bars[i] = g.bars[height]
	}
	return string(bars)
}
