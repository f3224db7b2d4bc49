// Package top lays out what there is to see of a fleet as text: once for a
// script, or again and again for a person at a terminal.
package top

import (
	"fmt"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/fleet"
)

// Frame is one sight of the fleet and what stands around it.
type Frame struct {
	// Broker names the broker.
	Broker string
	// Sight is what was last seen.
	Sight fleet.Sight
	// Fault says why nothing newer can be seen; empty where Sight is new.
	Fault capsign.Code
	// Now is the time that ages are counted to.
	Now time.Time
	// Resume says who may start a paused pool again.
	Resume func(fleet.Pool) string
}

// Text lays the frame out without colours, for so many columns.
func (f Frame) Text(columns int) string {
	var out strings.Builder
	g := localGlyphs()
	for _, l := range append(f.head(g), f.body(columns, g)...) {
		out.WriteString(l.render(columns, false, g) + "\n")
	}
	return out.String()
}

// head returns the lines that stay while the rest is scrolled.
func (f Frame) head(g glyphs) []line {
	first := line{}.say(strong, "cap top  ").say(plain, f.Now.UTC().Format("15:04:05")+" UTC")
	second := line{}
	if f.Fault != "" {
		second = second.say(bad, "NO ANSWER ("+string(f.Fault)+")")
		if !f.Sight.At.IsZero() {
			second = second.say(bad, ", below is what was "+g.span(f.Now.Sub(f.Sight.At).Seconds())+" ago")
		}
	} else {
		second = second.say(plain, counted(len(f.Sight.Pools), "pool", "pools")+g.dot).say(f.fullness())
	}
	return []line{first.say(faint, "  "+f.Broker), second}
}

// fullness says how full the results store is.
func (f Frame) fullness() (tone, string) {
	r := f.Sight.Results
	switch {
	case r == nil:
		return faint, "results not known"
	case r.MaxBytes <= 0:
		return plain, count(r.Messages) + " results, " + size(r.Bytes)
	}
	full := float64(r.Bytes) / float64(r.MaxBytes)
	t := plain
	if full >= 0.95 {
		t = bad
	} else if full >= 0.8 {
		t = uneasy
	}
	return t, fmt.Sprintf("%s results, %s of %s (%d %%)", count(r.Messages), size(r.Bytes), size(uint64(r.MaxBytes)), int(full*100))
}

// body returns the lines of all pools.
func (f Frame) body(columns int, g glyphs) []line {
	var lines []line
	for _, pool := range f.Sight.Pools {
		lines = append(lines, nil)
		lines = append(lines, poolLines(pool, f, columns, g)...)
	}
	return lines
}

// counted returns a number of things.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
