// Package chart draws plots as SVG that needs nothing else: no script, no font
// and no address. A plot follows the reader's light or dark scheme, tells its
// lines apart by colour, dash and label, and names and describes itself to those
// who do not see it.
package chart

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Chart is one plot.
type Chart struct {
	// ID tells the plot's parts from those of others on a page. It holds letters,
	// digits and dashes.
	ID string
	// Title says what is drawn, Desc what there is to see; both are read out to
	// those who do not see the plot.
	Title, Desc string
	// X and Y are the axes.
	X, Y Axis
	// Series are drawn one above the other, the first one last.
	Series []Series
	// Limits are levels of y that matter.
	Limits []Limit
	// Breaks are places on the x axis where something changes.
	Breaks []Break
}

// Axis says how values of one direction are laid out. It covers what is drawn
// and, where it is linear, 0.
type Axis struct {
	// Label names what is measured, and its unit.
	Label string
	// Log draws equal ratios equally far apart. What is not positive is left out.
	Log bool
	// Ticks are the places to mark; nil means round numbers.
	Ticks []Tick
	// AtLeast is a value that the axis reaches in any case; 0 means none.
	AtLeast float64
	// Tight ends a linear axis where the values end, not at a round number.
	Tight bool
}

// Tick is a place on an axis.
type Tick struct {
	At    float64
	Label string
}

// Point is a place in the plot. A y that is not finite is a gap.
type Point struct{ X, Y float64 }

// Kind says how a series is drawn.
type Kind int

// How a series is drawn.
const (
	Line  Kind = iota // joined by a line
	Area              // a line, and what is below it filled
	Dots              // each on its own
	Guide             // a thin line to compare others with
)

// Series is a number of points that belong together.
type Series struct {
	// Name is written beside the last point; empty means nothing is.
	Name   string
	Kind   Kind
	Points []Point
}

// Limit is a level of y that matters, such as a budget.
type Limit struct {
	At    float64
	Label string
}

// Break is a place on the x axis where something changes, such as a step's
// beginning.
type Break struct {
	At    float64
	Label string
}

// The plot's size, and the frame that the axes make inside it.
const (
	width, height = 760.0, 340.0
	left, right   = 62.0, 650.0
	top, bottom   = 26.0, 286.0
)

// SVG returns the plot as an element to be put into a page that has [Style].
func (c Chart) SVG() string { return c.draw("") }

// File returns the plot as a file of its own.
func (c Chart) File() string { return c.draw("<style>"+Style+"</style>\n") + "\n" }

// draw draws the plot; style goes into it.
func (c Chart) draw(style string) string {
	d := c.newDrawing()
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 %g %g" role="img" aria-labelledby="%s-title %s-desc">`+"\n",
		width, height, text(c.ID), text(c.ID))
	d.printf(`<title id="%s-title">%s</title>`+"\n"+`<desc id="%s-desc">%s</desc>`+"\n", text(c.ID), text(c.Title), text(c.ID), text(c.Desc))
	d.out.WriteString(style)
	d.axes()
	if d.empty {
		d.printf(`<text class="note" x="%g" y="%g" text-anchor="middle">nothing to draw</text>`+"\n", (left+right)/2, (top+bottom)/2)
	} else {
		d.breaks()
		d.limits()
		d.series()
	}
	d.out.WriteString("</svg>")
	return d.out.String()
}

// drawing is a plot being drawn.
type drawing struct {
	Chart
	x, y   scale
	xTicks []Tick
	yTicks []Tick
	empty  bool // nothing can be drawn
	out    strings.Builder
}

// newDrawing settles the scales.
func (c Chart) newDrawing() *drawing {
	d := &drawing{Chart: c}
	var xs, ys []float64
	for _, series := range c.Series {
		for _, p := range series.Points {
			if c.X.holds(p.X) && c.Y.holds(p.Y) {
				xs, ys = append(xs, p.X), append(ys, p.Y)
			}
		}
	}
	d.empty = len(xs) == 0
	if !d.empty {
		for _, limit := range c.Limits {
			if c.Y.holds(limit.At) {
				ys = append(ys, limit.At)
			}
		}
	}
	d.x, d.xTicks = c.X.layOut(xs, left, right)
	d.y, d.yTicks = c.Y.layOut(ys, bottom, top)
	return d
}

// holds reports whether a value has a place on the axis.
func (a Axis) holds(v float64) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (v > 0 || !a.Log)
}

// printf writes to the plot. Text goes through [text].
func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.out, format, args...) }

// text returns s as XML's text, or the value of an attribute.
func text(s string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(s)) // a Builder takes everything
	return escaped.String()
}
