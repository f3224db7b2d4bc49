package rotation

import (
	"slices"
	"time"

	"github.com/capsign/cap/capsign"
)

// Plan is what a new version of the keyring changes, for people to read before
// they sign it and for programs as JSON.
type Plan struct {
	// Version is the new version's, with its action and the operator's reason.
	Version uint64 `json:"version"`
	Action  string `json:"action"`
	Reason  string `json:"reason"`
	// Expires is until when the keyring holds; Before is zero for the first.
	Expires Moved[time.Time] `json:"expires"`
	// Roots are the fingerprints of the roots, and Threshold how many of them
	// must sign. They mostly stay what they are.
	Roots     Moved[[]string] `json:"roots"`
	Threshold Moved[int]      `json:"threshold"`
	// Keys are the keys that change, sorted by name.
	Keys []KeyPlan `json:"keys"`
	// Effects says what the change means, and for whom.
	Effects []Effect `json:"effects"`
}

// Moved is something before and after a change. Before is the zero value where
// there was nothing.
type Moved[T any] struct {
	Before T `json:"before,omitzero"`
	After  T `json:"after,omitzero"`
}

// KeyPlan is what changes for one key.
type KeyPlan struct {
	// Key is the key's name and Pool the pool that signs with it.
	Key  string `json:"key"`
	Pool string `json:"pool"`
	// Stage is 1, 2 or 3; 0 where the key was not in the keyring.
	Stage Moved[int] `json:"stage"`
	// Active is the kid that signs.
	Active Moved[string] `json:"active"`
	// T1 is when stage 2 ends; zero where there is no rotation.
	T1 Moved[time.Time] `json:"t1,omitzero"`
	// SignAccepted is whether requests that name an accepted kid are signed after
	// the change.
	SignAccepted bool `json:"sign_accepted"`
	// KIDs are all kids of the key, in the order of the new version, with what
	// they may do. Those that the new version has forgotten come last.
	KIDs []KIDPlan `json:"kids"`
}

// KIDPlan is what changes for one kid.
type KIDPlan struct {
	// KID is the key version, Alg its algorithm and Provider its provider id.
	KID      string      `json:"kid"`
	Alg      capsign.Alg `json:"alg"`
	Provider string      `json:"provider"`
	// Standing is what the kid may do at the time of the plan.
	Standing Moved[Standing] `json:"standing"`
	// Until is T1 for a kid that is accepted after the change; otherwise zero.
	Until time.Time `json:"until,omitzero"`
}

// Standing is a kid's [capsign.State], or one of the two below.
type Standing string

// What a kid can be besides having a state.
const (
	Revoked Standing = "revoked" // never signs or verifies again
	Unknown Standing = ""        // not in the keyring
)

// Describe says what after changes that before, nil for a first keyring, said
// at now. Neither needs signatures; both must have been checked.
func Describe(before, after *capsign.Keyring, now time.Time) Plan {
	if before == nil {
		before = new(capsign.Keyring)
	}
	plan := Plan{
		Version: after.Version, Action: after.Action, Reason: after.Reason,
		Expires:   Moved[time.Time]{before.Expires, after.Expires},
		Roots:     Moved[[]string]{before.Roots.Fingerprints(), after.Roots.Fingerprints()},
		Threshold: Moved[int]{before.Roots.Threshold, after.Roots.Threshold},
	}
	for _, r := range after.Keys {
		old, _ := before.Rotation(r.Name) // the zero rotation where it is new
		if kp := describeKey(old, r, now); kp.changes(old, r) {
			plan.Keys = append(plan.Keys, kp)
		}
	}
	plan.Effects = effects(before, plan, now)
	return plan
}

// describeKey compares a key's rotation at now with the one before, which has
// no versions where the key is new.
func describeKey(before, after capsign.KeyRotation, now time.Time) KeyPlan {
	plan := KeyPlan{
		Key: after.Name, Pool: after.Pool,
		Stage:        Moved[int]{After: after.Stage(now)},
		Active:       Moved[string]{After: after.Active()},
		T1:           Moved[time.Time]{before.T1, after.T1},
		SignAccepted: after.SignAccepted,
	}
	if len(before.Versions) > 0 {
		plan.Stage.Before, plan.Active.Before = before.Stage(now), before.Active()
	}
	for _, v := range slices.Concat(after.Versions, before.Versions) {
		if !slices.ContainsFunc(plan.KIDs, func(k KIDPlan) bool { return k.KID == v.KID }) {
			plan.KIDs = append(plan.KIDs, describeKID(v, before, after, now))
		}
	}
	return plan
}

// describeKID compares what a kid may do at now.
func describeKID(v capsign.KeyVersion, before, after capsign.KeyRotation, now time.Time) KIDPlan {
	plan := KIDPlan{KID: v.KID, Alg: v.Alg, Provider: v.Provider}
	plan.Standing = Moved[Standing]{standing(before, v.KID, now), standing(after, v.KID, now)}
	if plan.Standing.After == Standing(capsign.Accepted) {
		plan.Until = after.T1
	}
	return plan
}

// standing returns what kid may do at now by the rotation r.
func standing(r capsign.KeyRotation, kid string, now time.Time) Standing {
	switch {
	case slices.Contains(r.Revoked, kid):
		return Revoked
	case indexOf(r.Versions, kid) < 0:
		return Unknown
	}
	return Standing(r.State(kid, now))
}

// changes reports whether the two rotations that p compares differ.
func (p KeyPlan) changes(before, after capsign.KeyRotation) bool {
	return before.Pool != after.Pool || before.At != after.At || before.Back != after.Back ||
		p.T1.Before != p.T1.After || before.Overlap != after.Overlap || before.SignAccepted != after.SignAccepted ||
		!slices.Equal(before.Revoked, after.Revoked) ||
		!slices.EqualFunc(before.Versions, after.Versions, func(a, b capsign.KeyVersion) bool { return a.KID == b.KID })
}
