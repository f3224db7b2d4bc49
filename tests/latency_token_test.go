//go:build cgo

package tests

import (
	"slices"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/latency"
	"github.com/capsign/cap/internal/providers/pkcs11/p11test"
)

// TestASlowProviderExceedsTheBudget has a token take its time for one signature
// in nine.
func TestASlowProviderExceedsTheBudget(t *testing.T) {
	chaos := p11test.WithChaos(t, p11test.SoftHSM(t))
	chaos.Generate(t, capsign.ES256, "cap-signing", "01")
	r := newTrial(t, strict)
	r.env = append(r.env, append(chaos.Env(), pinVariable+"="+chaos.PIN)...)
	r.runTokenWorker("a", r.writeTokenConfig(chaos.Token))
	r.awaitWorkers(1)
	chaos.Rule(t, "C_Sign delay_ms=60 count=120")
	r.sign(1100, time.Millisecond, nil)
	report := r.mustBe(latency.Exceeded, "a")
	at := slices.IndexFunc(report.Lines, func(l latency.Line) bool { return l.Measure == latency.Sign && l.Class == capsign.ClassToken })
	if l := report.Lines[at]; l.Verdict != latency.Exceeded || l.Samples < 1100 || l.Seconds.P95 < 0.06 {
		t.Errorf("%+v", l)
	}
	for _, p := range report.Splits[0].Parts { // while others wait for a session of the token
		if p.Segment == latency.SessionWait && p.Seconds.Max < 0.01 {
			t.Errorf("nobody waited for a session: %+v", p)
		}
	}
}
