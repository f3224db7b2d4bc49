package top

import (
	"strings"
	"unicode/utf8"
)

// tone is how a piece of text is to stand out. What it says must be clear
// without it.
type tone string

// The tones, as the terminal's own colours (ECMA-48 SGR).
const (
	plain  tone = ""
	strong tone = "1"
	faint  tone = "2"
	good   tone = "32"
	uneasy tone = "33"
	bad    tone = "1;31"
)

// piece is text in one tone.
type piece struct {
	text string
	tone tone
}

// line is one line of a frame.
type line []piece

// say returns a line with one more piece.
func (l line) say(t tone, text string) line { return append(l, piece{text, t}) }

// width returns how many columns the line takes: all that a frame shows has
// characters of one column.
func (l line) width() int {
	columns := 0
	for _, p := range l {
		columns += utf8.RuneCountInString(p.text)
	}
	return columns
}

// render returns the line, cut to so many columns, in colour or without.
func (l line) render(columns int, colour bool, g glyphs) string {
	var out strings.Builder
	left := columns
	cut := l.width() > columns
	if cut {
		left--
	}
	for _, p := range l {
		text := []rune(p.text)
		text = text[:min(len(text), max(left, 0))]
		left -= len(text)
		if colour && p.tone != plain && len(text) > 0 {
			out.WriteString("\x1b[" + string(p.tone) + "m" + string(text) + "\x1b[0m")
		} else {
			out.WriteString(string(text))
		}
	}
	if cut && columns > 0 {
		out.WriteString(g.more)
	}
	return strings.TrimRight(out.String(), " ")
}
