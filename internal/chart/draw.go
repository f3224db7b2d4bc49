package chart

import (
	"fmt"
	"slices"
	"strings"
)

// lineHeight is how far apart labels are at least.
const lineHeight = 15.0

// axes draws the grid, the ticks and the axes' labels.
func (d *drawing) axes() {
	for _, tick := range d.yTicks {
		y := d.y.at(tick.At)
		d.printf(`<path class="grid" d="M%.1f %.1fH%.1f"/><text x="%.1f" y="%.1f" text-anchor="end">%s</text>`+"\n", left, y, right, left-8, y+4, text(tick.Label))
	}
	for _, tick := range d.xTicks {
		x := d.x.at(tick.At)
		d.printf(`<path class="tick" d="M%.1f %.1fv5"/><text x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", x, bottom, x, bottom+19, text(tick.Label))
	}
	d.printf(`<path class="axis" d="M%.1f %.1fH%.1f"/>`+"\n", left, bottom, right)
	d.printf(`<text class="label" x="%.1f" y="%.1f" text-anchor="middle">%s</text>`+"\n", (left+right)/2, bottom+40, text(d.X.Label))
	d.printf(`<text class="label" x="%.1f" y="%.1f">%s</text>`+"\n", 4.0, top-11, text(d.Y.Label))
}

// breaks draws the places where something changes, with their labels where there
// is room.
func (d *drawing) breaks() {
	free := left
	for _, b := range d.Breaks {
		x := d.x.at(b.At)
		d.printf(`<path class="break" d="M%.1f %.1fV%.1f"/>`+"\n", x, top, bottom)
		if label := float64(len(b.Label)) * 6.5; x >= free && x+label < width {
			d.printf(`<text class="note" x="%.1f" y="%.1f">%s</text>`+"\n", x+4, top+11, text(b.Label))
			free = x + label
		}
	}
}

// limits draws the levels that matter.
func (d *drawing) limits() {
	for _, limit := range d.Limits {
		if d.Y.holds(limit.At) {
			d.printf(`<path class="limit" d="M%.1f %.1fH%.1f"/>`+"\n", left, d.y.at(limit.At), right)
		}
	}
}

// series draws the series and their names.
func (d *drawing) series() {
	for i, series := range slices.Backward(d.Series) {
		class := fmt.Sprintf("s%d", i%styles)
		if series.Kind == Guide {
			class = "guide"
		}
		runs := d.runs(series.Points)
		if series.Kind == Area {
			d.fill(class, runs)
		}
		for _, run := range runs {
			d.run(class, series.Kind, run)
		}
	}
	d.names()
}

// runs returns the places of points, apart where there is a gap.
func (d *drawing) runs(points []Point) [][]Point {
	var runs [][]Point
	gap := true
	for _, p := range points {
		if !d.X.holds(p.X) || !d.Y.holds(p.Y) {
			gap = true
			continue
		}
		if gap {
			runs = append(runs, nil)
			gap = false
		}
		last := len(runs) - 1
		runs[last] = append(runs[last], Point{d.x.at(p.X), d.y.at(p.Y)})
	}
	return runs
}

// maxMarked is the most points of a line that are marked each.
const maxMarked = 40

// run draws places that belong together.
func (d *drawing) run(class string, kind Kind, places []Point) {
	if kind != Dots && len(places) > 1 {
		d.printf(`<path class="line %s" d="%s"/>`+"\n", class, path(places))
	}
	if kind == Guide || kind != Dots && len(places) > maxMarked {
		return
	}
	for _, p := range places {
		d.printf(`<circle class="dot %s" cx="%.1f" cy="%.1f" r="3"/>`, class, p.X, p.Y)
	}
	d.printf("\n")
}

// fill fills what is below runs of places.
func (d *drawing) fill(class string, runs [][]Point) {
	for _, places := range runs {
		d.printf(`<path class="area %s" d="%sV%.1fH%.1fZ"/>`+"\n", class, path(places), bottom, places[0].X)
	}
}

// path returns a line through places as SVG writes it.
func path(places []Point) string {
	var p strings.Builder
	for i, place := range places {
		command := 'L'
		if i == 0 {
			command = 'M'
		}
		fmt.Fprintf(&p, "%c%.1f %.1f", command, place.X, place.Y)
	}
	return p.String()
}

// name is a label at the right of the plot.
type name struct {
	class, text string
	y           float64
}

// names writes the names of series and limits beside where they end, apart from
// each other.
func (d *drawing) names() {
	var names []name
	for i, series := range d.Series {
		runs := d.runs(series.Points)
		if series.Name == "" || len(runs) == 0 {
			continue
		}
		last := runs[len(runs)-1]
		class := fmt.Sprintf("s%d", i%styles)
		if series.Kind == Guide {
			class = "guide"
		}
		names = append(names, name{class, series.Name, last[len(last)-1].Y})
	}
	for _, limit := range d.Limits {
		if d.Y.holds(limit.At) {
			names = append(names, name{"limit", limit.Label, d.y.at(limit.At)})
		}
	}
	for _, n := range spread(names) {
		d.printf(`<path class="line key %s" d="M%.1f %.1fh14"/><text class="name" x="%.1f" y="%.1f">%s</text>`+"\n", n.class, right+6, n.y, right+24, n.y+4, text(n.text))
	}
}

// spread moves labels apart that would cover each other, and back into the frame.
func spread(names []name) []name {
	slices.SortStableFunc(names, func(m, n name) int { return int(m.y) - int(n.y) })
	for i := 1; i < len(names); i++ {
		names[i].y = max(names[i].y, names[i-1].y+lineHeight)
	}
	floor := bottom
	for i := range slices.Backward(names) {
		names[i].y = min(names[i].y, floor)
		floor = names[i].y - lineHeight
	}
	return names
}
