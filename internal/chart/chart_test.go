package chart

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// elements parses a plot and returns how many elements of each name it has; the
// test fails where it is no well-formed XML or has a place that is none.
func elements(t *testing.T, svg string) map[string]int {
	t.Helper()
	found := make(map[string]int)
	decoder := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
		if start, ok := token.(xml.StartElement); ok {
			found[start.Name.Local]++
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("a place is no number:\n%s", svg)
	}
	return found
}

// absolute finds the places that a path moves or draws a line to.
var absolute = regexp.MustCompile(`[ML](-?[\d.]+) (-?[\d.]+)`)

// places returns what the series' lines and dots of a plot go through.
func places(t *testing.T, svg string) []Point {
	t.Helper()
	var found []Point
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, line := range regexp.MustCompile(`class="line s\d" d="([^"]*)"`).FindAllStringSubmatch(svg, -1) {
		for _, place := range absolute.FindAllStringSubmatch(line[1], -1) {
			found = append(found, Point{number(place[1]), number(place[2])})
		}
	}
	for _, dot := range regexp.MustCompile(`cx="([^"]*)" cy="([^"]*)"`).FindAllStringSubmatch(svg, -1) {
		found = append(found, Point{number(dot[1]), number(dot[2])})
	}
	return found
}

// charts are plots of all kinds, and of data that has surprises.
func charts() map[string]Chart {
	nan, inf := math.NaN(), math.Inf(1)
	line := func(points ...Point) []Series { return []Series{{Name: "p99", Points: points}} }
	return map[string]Chart{
		"empty":      {ID: "a", Title: "nothing"},
		"no points":  {ID: "a", Series: line()},
		"gaps only":  {ID: "a", Series: line(Point{1, nan}, Point{nan, 1}, Point{2, inf}), Limits: []Limit{{5, "limit"}}},
		"one point":  {ID: "a", Series: line(Point{3, 7})},
		"flat":       {ID: "a", Series: line(Point{0, 5}, Point{1, 5}, Point{2, 5})},
		"zeros":      {ID: "a", Series: line(Point{0, 0}, Point{0, 0})},
		"negative":   {ID: "a", Series: line(Point{-5, -7}, Point{5, 9})},
		"a gap":      {ID: "a", Series: line(Point{0, 1}, Point{1, nan}, Point{2, 3}, Point{3, 4})},
		"huge":       {ID: "a", Series: line(Point{0, 1e15}, Point{1e12, 3e15})},
		"tiny":       {ID: "a", Series: line(Point{0, 1e-9}, Point{1e-7, 3e-9})},
		"log":        {ID: "a", Y: Axis{Log: true}, Series: line(Point{0, 0.3}, Point{1, 40}, Point{2, 0}, Point{3, -1})},
		"log flat":   {ID: "a", Y: Axis{Log: true}, Series: line(Point{0, 1}, Point{1, 1})},
		"log wide":   {ID: "a", Y: Axis{Log: true}, Series: line(Point{0, 0.001}, Point{1, 1e6})},
		"log of 0":   {ID: "a", Y: Axis{Log: true}, Series: line(Point{0, 0})},
		"limit":      {ID: "a", Y: Axis{Log: true}, Series: line(Point{0, 1}, Point{1, 2}), Limits: []Limit{{200, "p99 ≤ 200"}, {nan, "none"}}},
		"all kinds":  {ID: "a", Series: []Series{{"line", Line, []Point{{0, 1}, {1, 2}}}, {"area", Area, []Point{{0, 2}, {1, 1}}}, {"dots", Dots, []Point{{0, 3}}}, {"guide", Guide, []Point{{0, 0}, {1, 3}}}}},
		"own ticks":  {ID: "a", X: Axis{Ticks: []Tick{{0, "0"}, {1, "90"}, {2, "99"}, {9, "beyond"}}}, Series: line(Point{0, 1}, Point{2.5, 2})},
		"tight":      {ID: "a", X: Axis{Tight: true, AtLeast: 21}, Series: line(Point{0.5, 1}, Point{20.5, 2})},
		"breaks":     {ID: "a", Series: line(Point{0, 1}, Point{9, 2}), Breaks: []Break{{0, "100/s"}, {0.01, "200/s"}, {5, "400/s"}}},
		"sharp text": {ID: "a", Title: `<b>"&'`, Desc: "]]>\x00", X: Axis{Label: "<x>"}, Y: Axis{Label: "a&b"}, Series: []Series{{Name: "</svg>", Points: []Point{{1, 1}}}}, Limits: []Limit{{1, "<"}}},
	}
}

func TestPlotsAreWellFormed(t *testing.T) {
	for name, chart := range charts() {
		t.Run(name, func(t *testing.T) {
			found := elements(t, chart.SVG())
			if found["svg"] != 1 || found["title"] != 1 || found["desc"] != 1 {
				t.Errorf("elements: %v", found)
			}
			if elements(t, chart.File())["style"] != 1 {
				t.Error("a file of its own has no style")
			}
		})
	}
}

func TestNothingIsDrawnOutsideTheFrame(t *testing.T) {
	for name, chart := range charts() {
		for _, p := range places(t, chart.SVG()) {
			if p.X < left || p.X > right || p.Y < top || p.Y > bottom {
				t.Errorf("%s: something is drawn at %g, %g", name, p.X, p.Y)
			}
		}
	}
}

func TestTicksAscendAndAreInside(t *testing.T) {
	for name, chart := range charts() {
		d := chart.newDrawing()
		for _, axis := range []struct {
			scale scale
			ticks []Tick
		}{{d.x, d.xTicks}, {d.y, d.yTicks}} {
			if len(axis.ticks) < 2 || len(axis.ticks) > 12 {
				t.Errorf("%s: %d ticks", name, len(axis.ticks))
			}
			for i, tick := range axis.ticks {
				if tick.At < axis.scale.min-1e-12 || tick.At > axis.scale.max*(1+1e-12) {
					t.Errorf("%s: the tick %g is outside %g..%g", name, tick.At, axis.scale.min, axis.scale.max)
				}
				if i > 0 && (tick.At <= axis.ticks[i-1].At || tick.Label == axis.ticks[i-1].Label) {
					t.Errorf("%s: ticks %v do not ascend", name, axis.ticks)
				}
			}
		}
	}
}

func TestTicksAreRound(t *testing.T) {
	for _, tc := range []struct {
		axis   Axis
		values []float64
		want   string
	}{
		{Axis{}, []float64{7, 58}, "0 10 20 30 40 50 60"},
		{Axis{}, []float64{0.2, 0.5}, "0.0 0.1 0.2 0.3 0.4 0.5"},
		{Axis{Tight: true}, []float64{7, 58}, "0 10 20 30 40 50"},
		{Axis{Log: true}, []float64{0.7, 45}, "0.5 1 2 5 10 20 50"},
		{Axis{Log: true}, []float64{0.01, 900}, "0.01 0.1 1 10 100 1000"},
		{Axis{Log: true}, []float64{3, 12000}, "10 100 1000 10000"},
	} {
		_, ticks := tc.axis.layOut(tc.values, 0, 1)
		var labels []string
		for _, tick := range ticks {
			labels = append(labels, tick.Label)
		}
		if got := strings.Join(labels, " "); got != tc.want {
			t.Errorf("%v: ticks %s, want %s", tc.values, got, tc.want)
		}
	}
}

// A line that went on over a gap would claim values that there are none of.
func TestGapsAreGaps(t *testing.T) {
	svg := charts()["a gap"].SVG()
	if n := strings.Count(svg, `class="line s0"`); n != 1 {
		t.Errorf("%d lines, want one from the third point to the fourth", n)
	}
	if n := len(places(t, svg)) - strings.Count(svg, "<circle"); n != 2 {
		t.Errorf("the line goes through %d points, want 2", n)
	}
	if n := strings.Count(svg, "<circle"); n != 3 {
		t.Errorf("%d points are marked, want 3", n)
	}
}

func TestNamesDoNotCoverEachOther(t *testing.T) {
	names := spread([]name{{y: 280}, {y: top}, {y: 281}, {y: 282}, {y: top + 1}})
	for i := range names {
		if i > 0 && names[i].y-names[i-1].y < lineHeight || names[i].y > bottom || names[i].y < top {
			t.Errorf("labels at %v", names)
		}
	}
}

func TestUpIsMore(t *testing.T) {
	d := Chart{Y: Axis{Log: true}, Series: []Series{{Points: []Point{{0, 1}, {10, 100}}}}}.newDrawing()
	if d.x.at(11) != right || d.x.at(-1) != left {
		t.Error("what is beyond an end is not at it")
	}
	if d.y.at(1) != bottom || d.y.at(100) != top || d.y.at(10) != (top+bottom)/2 || d.x.at(0) != left || d.x.at(10) != right {
		t.Errorf("x %+v, y %+v", d.x, d.y)
	}
}
