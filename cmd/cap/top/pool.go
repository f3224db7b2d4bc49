package top

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/fleet"
)

// poolLines lays out one pool.
func poolLines(p fleet.Pool, f Frame, columns int, g glyphs) []line {
	lines := []line{title(p, columns, g)}
	if p.Code != "" {
		lines = append(lines, line{}.say(uneasy, "  "+f.Resume(p)))
	}
	lines = append(lines, tableLines(p, columns, g)...)
	for _, l := range p.Lanes {
		if len(l.Refused) > 0 {
			lines = append(lines, refusals(l))
		}
	}
	lines = append(lines, signers(p, g))
	for _, w := range p.Workers {
		lines = append(lines, workerLine(w, f, g))
	}
	return lines
}

// shortName is how much of a pool's name is shown where there is little room.
const shortName = 12

// title says which pool it is, and whether it signs.
func title(p fleet.Pool, columns int, g glyphs) line {
	name := p.Name
	if columns < 60 && len(name) > shortName {
		name = name[:shortName-1] + g.more // whether it signs matters more
	}
	l := line{}.say(strong, name+"  ")
	if p.State == capsign.PoolReady {
		l = l.say(good, "ready")
	} else {
		l = l.say(bad, "PAUSED "+string(p.Code))
	}
	at := p.Provider
	if p.Class != "" && string(p.Class) != p.Provider {
		at += "/" + string(p.Class)
	}
	l = l.say(plain, g.dot+at)
	switch {
	case p.Workers == nil:
		l = l.say(faint, g.dot+"workers not known")
	case len(p.Workers) == 0:
		l = l.say(bad, g.dot+"NO WORKER ANSWERS")
	default:
		l = l.say(plain, g.dot+counted(len(p.Workers), "worker", "workers"))
	}
	if p.Dead != nil && *p.Dead > 0 {
		l = l.say(uneasy, g.dot+count(*p.Dead)+" dead")
	}
	return l
}

// refusals says what a lane was refused with, the most frequent first.
func refusals(lane fleet.Lane) line {
	codes := slices.SortedFunc(maps.Keys(lane.Refused), func(a, b capsign.Code) int {
		if d := int64(lane.Refused[b]) - int64(lane.Refused[a]); d != 0 { //nolint:gosec // counts of the wire are bounded
			return int(min(max(d, -1), 1))
		}
		return strings.Compare(string(a), string(b))
	})
	var parts []string
	for _, code := range codes {
		parts = append(parts, string(code)+" "+count(lane.Refused[code]))
	}
	return line{}.say(faint, "  refused "+string(lane.Name)+": ").say(uneasy, strings.Join(parts, ", "))
}

// shortKID is how much of a kid is shown.
const shortKID = 16

// signers says which kids sign now.
func signers(p fleet.Pool, g glyphs) line {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(p.Current)) {
		kid := p.Current[name]
		kid = kid[:min(len(kid), shortKID)]
		if len(p.Current) > 1 {
			kid = name + " " + kid
		}
		parts = append(parts, kid)
	}
	return line{}.say(faint, "  signs with ").say(plain, strings.Join(parts, g.dot))
}

// shortID is how much of a worker's id is shown.
const shortID = 8

// workerLine says what a worker does.
func workerLine(w fleet.Worker, f Frame, g glyphs) line {
	id := []rune(w.ID)
	l := line{}.say(faint, "  worker ").say(plain, fmt.Sprintf("%-*s  ", shortID, string(id[:min(len(id), shortID)])))
	if w.State == capsign.PoolReady {
		l = l.say(good, "ready")
	} else {
		l = l.say(bad, "paused "+string(w.Code))
	}
	l = l.say(plain, " for "+g.span(max(f.Now.Sub(w.Since).Seconds(), 1)))
	return l.say(faint, g.dot+"up "+g.span(max(f.Now.Sub(w.Started).Seconds(), 1))+g.dot+w.Version)
}
