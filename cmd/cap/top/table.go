package top

import (
	"fmt"
	"unicode/utf8"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/fleet"
)

// column is one column of a pool's table.
type column struct {
	title string
	width int
	// rank is the order in which columns are given up where there is no room: the
	// highest first.
	rank int
}

// columns of the table, in the order in which they stand.
var columns = []column{
	{"lane", 9, 0}, {"waiting", 8, 1}, {"in hand", 8, 4}, {"oldest", 7, 5}, {"rate/s", 7, 2},
	{"p50", 7, 7}, {"p95", 8, 6}, {"p99", 8, 3},
}

const (
	indent = 2
	// sparkMin is the fewest columns that a curve is drawn in.
	sparkMin = 8
)

// fitting returns the columns that there is room for.
func fitting(room int) []column {
	rank := len(columns)
	for {
		used, fit := indent, []column{}
		for _, c := range columns {
			if c.rank < rank {
				fit, used = append(fit, c), used+c.width
			}
		}
		if used <= room || rank == 1 {
			return fit
		}
		rank--
	}
}

// cell is one field of the table.
type cell struct {
	text string
	tone tone
}

// tableLines lays out a pool's lanes and its provider's times.
func tableLines(p fleet.Pool, room int, g glyphs) []line {
	fit := fitting(room)
	head := make(map[string]cell, len(columns))
	for _, c := range columns {
		head[c.title] = cell{c.title, faint}
	}
	lines := []line{row(head, fit)}
	for _, l := range p.Lanes {
		lines = append(lines, curve(row(laneCells(l, g), fit), l, room, g))
	}
	return append(lines, row(signCells(p, g), fit))
}

// row lays out one line of the table: the first column to the left, numbers to
// the right.
func row(cells map[string]cell, fit []column) line {
	l := line{}.say(plain, fmt.Sprintf("%*s", indent, ""))
	for i, c := range fit {
		field := cells[c.title]
		pad := max(c.width-utf8.RuneCountInString(field.text), 0)
		if i == 0 {
			l = l.say(field.tone, field.text).say(plain, fmt.Sprintf("%*s", pad, ""))
		} else {
			l = l.say(plain, fmt.Sprintf("%*s", pad, "")).say(field.tone, field.text)
		}
	}
	return l
}

// curve adds how the rate went to a line, where there is room.
func curve(l line, lane fleet.Lane, room int, g glyphs) line {
	left := room - l.width() - 2
	if left < sparkMin {
		return l
	}
	return l.say(plain, "  ").say(good, g.spark(lane.PerSecond, left))
}

// laneCells are a lane's fields.
func laneCells(l fleet.Lane, g glyphs) map[string]cell {
	cells := map[string]cell{
		"lane": {string(l.Name), plain}, "rate/s": {rate(l.Rate), plain},
		"p50": {g.span(l.Process.P50), plain}, "p95": {g.span(l.Process.P95), plain}, "p99": {g.span(l.Process.P99), plain},
		"waiting": {"?", faint}, "in hand": {"?", faint}, "oldest": {"?", faint},
	}
	if q := l.Queue; q != nil {
		cells["waiting"] = cell{count(q.Waiting), plain}
		cells["in hand"] = cell{count(uint64(max(q.InHand, 0))), plain}
		cells["oldest"] = cell{g.span(q.Oldest), oldTone(l.Name, q.Oldest)}
	}
	return cells
}

// oldTone is that of an age: nobody waits long for the express lane.
func oldTone(lane capsign.Lane, seconds float64) tone {
	if lane == capsign.Express && seconds > 5 {
		return bad
	}
	return plain
}

// signCells are the provider's times. One that is over the budget of its class
// is marked with an exclamation mark, too.
func signCells(p fleet.Pool, g glyphs) map[string]cell {
	p95, p99 := budget(p.Class)
	return map[string]cell{
		"lane": {"provider", plain}, "p50": {g.span(p.Sign.P50), plain},
		"p95": judged(g, p.Sign.P95, p95), "p99": judged(g, p.Sign.P99, p99),
	}
}

// judged is a time and what there is to say of it, given where it is too long.
func judged(g glyphs, seconds, limit float64) cell {
	if limit > 0 && seconds > limit {
		return cell{"!" + g.span(seconds), bad}
	}
	return cell{g.span(seconds), plain}
}

// budget returns the seconds within which 95 and 99 of 100 signatures of a class
// are to be made; 0 where there is no such limit.
func budget(class capsign.Class) (p95, p99 float64) {
	switch class {
	case capsign.ClassSoftware, capsign.ClassToken:
		return 0.050, 0.200
	case capsign.ClassCloud:
		return 0.150, 0.200
	case capsign.ClassChip:
		return 1, 0
	}
	return 0, 0
}
