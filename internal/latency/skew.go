package latency

import "time"

// skew is how far apart clocks are found to be. Spans of one request that would
// have to be in order and are not say so.
type skew struct {
	publishers uint64        // requests whose worker began before, or ended after, their publisher
	broker     uint64        // deliveries that were taken before they were stored
	most       time.Duration // by which any of those was out of order
}

// look compares the clocks that one request has met.
func (s *skew) look(r request) {
	for _, p := range r.processes {
		if p.queued != nil && *p.queued < 0 {
			s.broker++
			s.most = max(s.most, -*p.queued)
		}
		if r.publish == nil {
			continue
		}
		if early := time.Duration(r.publish.start - p.start); early > 0 {
			s.publishers++
			s.most = max(s.most, early)
		}
	}
}

// Skew is what a report says of clocks that differ.
type Skew struct {
	// Publishers counts requests that a worker took before their publisher sent
	// them, and Broker deliveries that it took before the broker stored them.
	Publishers uint64 `json:"publishers"`
	Broker     uint64 `json:"broker"`
	// Seconds is the most by which two clocks differ for sure.
	Seconds float64 `json:"seconds"`
}

// report returns nil where no clock is known to be wrong.
func (s skew) report() *Skew {
	if s.publishers == 0 && s.broker == 0 {
		return nil
	}
	return &Skew{Publishers: s.publishers, Broker: s.broker, Seconds: s.most.Seconds()}
}
