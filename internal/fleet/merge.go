package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// rateSeconds is over how many seconds a rate is the average.
const rateSeconds = 5

// take puts together what the workers of the pool tell: buckets and counts are
// added, and quantiles are those of the sums.
func (p *Pool) take(workers []capsign.WorkerStats) {
	var sign capsign.Histogram
	lanes := map[capsign.Lane]*sum{capsign.Express: {}, capsign.Bulk: {}}
	p.Workers = []Worker{}
	for i, w := range workers {
		sign.Add(&w.Sign)
		for name, lane := range w.Lanes {
			lanes[name].add(lane)
		}
		p.Workers = append(p.Workers, Worker{w.ID, w.State, w.Code, w.Since.UTC(), w.Started.UTC(), w.Version})
		if i == 0 {
			p.Class = w.Class
		} else if p.Class != w.Class {
			p.Class = ""
		}
	}
	slices.SortFunc(p.Workers, func(a, b Worker) int {
		return cmp.Or(a.Started.Compare(b.Started), strings.Compare(a.ID, b.ID))
	})
	p.Sign = quantilesOf(&sign)
	p.Lanes = []Lane{lanes[capsign.Express].lane(capsign.Express), lanes[capsign.Bulk].lane(capsign.Bulk)}
}

// sum is what several workers tell of one lane.
type sum struct {
	answered  uint64
	refused   map[capsign.Code]uint64
	process   capsign.Histogram
	perSecond [capsign.StatsWindow]uint64
}

// add adds what one worker tells.
func (s *sum) add(l capsign.LaneStats) {
	s.answered += l.Answered
	for code, n := range l.Refused {
		if s.refused == nil {
			s.refused = make(map[capsign.Code]uint64)
		}
		s.refused[code] += n
	}
	s.process.Add(&l.Process)
	missing := len(s.perSecond) - len(l.PerSecond)
	for i, n := range l.PerSecond {
		s.perSecond[missing+i] += n
	}
}

// lane returns the lane as it is seen.
func (s *sum) lane(name capsign.Lane) Lane {
	var recent uint64
	for _, n := range s.perSecond[len(s.perSecond)-rateSeconds:] {
		recent += n
	}
	return Lane{
		Name: name, Rate: float64(recent) / rateSeconds, PerSecond: s.perSecond[:],
		Process: quantilesOf(&s.process), Answered: s.answered, Refused: s.refused,
	}
}

// quantilesOf returns the quantiles of what was counted.
func quantilesOf(h *capsign.Histogram) Quantiles {
	seconds := func(q float64) float64 { return h.Quantile(q).Truncate(time.Microsecond).Seconds() }
	return Quantiles{Count: h.Count(), P50: seconds(0.50), P95: seconds(0.95), P99: seconds(0.99)}
}
