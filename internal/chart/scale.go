package chart

import (
	"math"
	"slices"
	"strconv"
)

// scale turns values into places between two ends.
type scale struct {
	min, max float64 // the values at the ends
	log      bool
	from, to float64 // the ends
}

// at returns the place of a value, which is one of the ends where the value is
// beyond it.
func (s scale) at(v float64) float64 {
	low, high := s.min, s.max
	if s.log {
		v, low, high = math.Log10(v), math.Log10(low), math.Log10(high)
	}
	share := min(max((v-low)/(high-low), 0), 1)
	return s.from + share*(s.to-s.from)
}

// layOut returns a scale that has room for values, and its ticks, inside it and
// in ascending order.
func (a Axis) layOut(values []float64, from, to float64) (scale, []Tick) {
	if a.AtLeast != 0 {
		values = append(slices.Clone(values), a.AtLeast)
	}
	s := scale{min: 0, max: 1, from: from, to: to}
	var ticks []Tick
	if len(values) > 0 {
		s.min, s.max = slices.Min(values), slices.Max(values)
	}
	if a.Log && len(values) > 0 {
		s.log = true
		s.min, s.max, ticks = logTicks(s.min, s.max)
	} else {
		s.min, s.max, ticks = linearTicks(min(s.min, 0), s.max, a.Ticks == nil && !a.Tight)
	}
	if a.Ticks != nil {
		ticks = slices.Clone(a.Ticks)
	}
	return s, slices.DeleteFunc(ticks, func(t Tick) bool { return t.At < s.min || t.At > s.max*(1+1e-9) })
}

// linearTicks returns ends and round numbers between them, about six. The ends
// are made round as well, where that is wanted.
func linearTicks(low, high float64, round bool) (float64, float64, []Tick) {
	if high <= low {
		high = low + 1
	}
	step := niceStep((high - low) / 6)
	first, last := math.Floor(low/step+1e-9), math.Ceil(high/step-1e-9)
	var ticks []Tick
	for i := first; i <= last; i++ {
		ticks = append(ticks, Tick{i * step, number(i*step, step)})
	}
	if round {
		low, high = first*step, last*step
	}
	return low, high, ticks
}

// niceStep returns the smallest of 1, 2 and 5 times a power of ten that is no
// less than n.
func niceStep(n float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(n)))
	for _, digit := range []float64{1, 2, 5} {
		if digit*power >= n*(1-1e-9) {
			return digit * power
		}
	}
	return 10 * power
}

// number writes a tick with no more digits than the distance between ticks asks
// for.
func number(v, step float64) string {
	decimals := max(0, -int(math.Floor(math.Log10(step)+1e-9)))
	return strconv.FormatFloat(v, 'f', decimals, 64)
}

// logTicks returns ends that are 1, 2 or 5 times a power of ten, and those between
// them or, where they would be many, the powers alone.
func logTicks(low, high float64) (float64, float64, []Tick) {
	first, last := int(math.Floor(math.Log10(low)+1e-9)), int(math.Ceil(math.Log10(high)-1e-9))
	var ticks []Tick
	for power := first; power <= last+1; power++ {
		for _, digit := range []float64{1, 2, 5} {
			at := digit * math.Pow(10, float64(power))
			ticks = append(ticks, Tick{at, number(at, math.Pow(10, float64(power)))})
		}
	}
	// From the last one that is no more than everything to the first that is no
	// less, and at least to the next.
	begin := 0
	for ticks[begin+1].At <= low*(1+1e-9) {
		begin++
	}
	end := begin + 1
	for ticks[end].At < high*(1-1e-9) {
		end++
	}
	ticks = ticks[begin : end+1]
	least, most := ticks[0].At, ticks[len(ticks)-1].At
	if last-first > 3 {
		ticks = slices.DeleteFunc(ticks, func(t Tick) bool { power := math.Log10(t.At); return math.Abs(power-math.Round(power)) > 1e-9 })
	}
	return least, most, ticks
}
