package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// Effect is one thing that a change means to somebody.
type Effect struct {
	// Whom it concerns: "verifiers", "operators" or "workers of pool P".
	Whom string `json:"whom"`
	// Key is the key's name; empty where the effect is on all.
	Key string `json:"key,omitzero"`
	// Kind says what happens, for programs: one of the Effect constants.
	Kind string `json:"kind"`
	// KID is the kid that it happens to; empty where there is none.
	KID string `json:"kid,omitzero"`
	// Until is when it ends; zero where it has no end.
	Until time.Time `json:"until,omitzero"`
	// Text is one sentence about it, without Whom and without a full stop.
	Text string `json:"text"`
}

// The kinds of effects.
const (
	EffectSign     = "sign"   // workers sign with KID from now on
	EffectStopSign = "stop"   // workers no longer sign with KID
	EffectAccept   = "accept" // signatures by KID count, until Until where it is set
	EffectRefuse   = "refuse" // signatures by KID no longer count
	EffectForget   = "forget" // KID is no longer known
	EffectRevive   = "revive" // an expired keyring speaks again
	EffectExpire   = "expire" // the keyring speaks until Until
	EffectRoots    = "roots"  // other roots sign from the next version on
)

// String returns the effect as a line of text.
func (e Effect) String() string {
	if e.Key == "" {
		return e.Whom + ": " + e.Text
	}
	return e.Whom + ": key " + e.Key + ": " + e.Text
}

// effects says what a plan means. before is the keyring in force, without keys
// where there is none.
func effects(before *capsign.Keyring, plan Plan, now time.Time) []Effect {
	var all []Effect
	for _, kp := range plan.Keys {
		all = append(all, kp.forWorkers()...)
		all = append(all, kp.forVerifiers()...)
	}
	if !plan.Expires.Before.IsZero() && before.Expired(now) {
		all = append(all, Effect{Whom: "verifiers", Kind: EffectRevive, Text: "the keyring had expired; its keys sign and verify again"})
	}
	all = append(all, Effect{
		Whom: "operators", Kind: EffectExpire, Until: plan.Expires.After,
		Text: "renew the keyring before " + stamp(plan.Expires.After),
	})
	if !slices.Equal(plan.Roots.Before, plan.Roots.After) || plan.Threshold.Before != plan.Threshold.After {
		all = append(all, Effect{Whom: "operators", Kind: EffectRoots, Text: fmt.Sprintf(
			"the next version needs %d of the roots %s", plan.Threshold.After, strings.Join(plan.Roots.After, ", "))})
	}
	return all
}

// forWorkers says what changes for the workers of the key's pool.
func (p KeyPlan) forWorkers() []Effect {
	whom := "workers of pool " + p.Pool
	var all []Effect
	if p.Active.Before != p.Active.After {
		all = append(all, Effect{Whom: whom, Key: p.Key, Kind: EffectSign, KID: p.Active.After, Text: "sign with " + p.Active.After})
		if p.Active.Before != "" {
			all = append(all, Effect{Whom: whom, Key: p.Key, Kind: EffectStopSign, KID: p.Active.Before, Text: p.stopText()})
		}
	}
	return all
}

// stopText says how workers stop signing with the kid that was active.
func (p KeyPlan) stopText() string {
	for _, k := range p.KIDs {
		if k.KID == p.Active.Before && k.Standing.After == Standing(capsign.Accepted) && p.SignAccepted {
			return "sign with " + k.KID + " only where a request names it, until " + stamp(k.Until)
		}
	}
	return "sign no more with " + p.Active.Before
}

// forVerifiers says what changes for whoever verifies.
func (p KeyPlan) forVerifiers() []Effect {
	var all []Effect
	for _, k := range p.KIDs {
		if e := k.forVerifiers(p.T1); e.Kind != "" {
			e.Whom, e.Key, e.KID = "verifiers", p.Key, k.KID
			all = append(all, e)
		}
	}
	return all
}

// forVerifiers says what changes for whoever verifies the kid's signatures; the
// zero Effect where nothing does.
func (k KIDPlan) forVerifiers(t1 Moved[time.Time]) Effect {
	was, is := k.Standing.Before, k.Standing.After
	switch {
	case is == Standing(capsign.Accepted) && (was != is || t1.Before != t1.After):
		return Effect{Kind: EffectAccept, Until: k.Until, Text: "accept " + k.KID + " until " + stamp(k.Until) + ", then refuse it"}
	case was == is:
		return Effect{}
	case is == Standing(capsign.Active) && was != Standing(capsign.Accepted):
		return Effect{Kind: EffectAccept, Text: "accept " + k.KID}
	case is == Standing(capsign.Active):
		return Effect{Kind: EffectAccept, Text: "accept " + k.KID + " without an end"}
	case is == Revoked:
		return Effect{Kind: EffectRefuse, Text: "refuse " + k.KID + " for good: it is revoked"}
	case is == Unknown:
		return Effect{Kind: EffectForget, Text: "forget " + k.KID + ": there are too many versions"}
	case was == Unknown:
		return Effect{} // new and retired: nobody ever accepted it
	}
	return Effect{Kind: EffectRefuse, Text: "refuse " + k.KID + ": it is retired"}
}

// stamp returns t as people read it in a plan, exactly.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
