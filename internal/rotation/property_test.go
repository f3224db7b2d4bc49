package rotation_test

import (
	"crypto/ed25519"
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// The names and labels that random histories are made of.
var (
	names  = []string{"a", "b"}
	labels = []string{"1", "2", "3", "4", "5"}
)

// life is a random history, with what must never be undone.
type life struct {
	*history
	*rapid.T
	revoked map[string]bool   // kids
	sigs    map[string][]byte // of "m", by label
}

// TestNoHistoryBreaksTheRules lets operators do whatever comes to their minds,
// right or wrong, and holds every keyring that comes of it to the rules.
func TestNoHistoryBreaksTheRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		signers := []rotation.RootSigner{rootOf(rt, "a"), rootOf(rt, "b")}[:rapid.IntRange(1, 2).Draw(rt, "roots")]
		l := &life{newHistory(rt, signers, names...), rt, make(map[string]bool), make(map[string][]byte)}
		for _, label := range labels {
			l.sigs[label] = ed25519.Sign(labelled(label), []byte("m"))
		}
		l.holds()
		actions := []func(*rapid.T){l.applies, l.rollsBack, l.ages, l.revokes, l.renews}
		for range rapid.IntRange(1, 20).Draw(rt, "changes") {
			actions[rapid.IntRange(0, len(actions)-1).Draw(rt, "change")](rt)
			l.holds()
		}
	})
}

// applies rotates some key to some version, with some T1.
func (l *life) applies(t *rapid.T) {
	r := l.someKey(t)
	to := l.version(r.Name, rapid.SampledFrom(labels).Draw(t, "to"))
	t1, overlap := l.someT1(t)
	k, err := rotation.Apply(l.held(), r.Name, to, t1, overlap, l.change())
	switch {
	case l.revoked[to.KID]:
		l.refused("revoked", k, err, capsign.KeyRevoked)
		return
	case to.KID == r.Active(), !l.soundT1(t1, overlap):
		l.refused("active, or without a T1", k, err, capsign.BadRequest)
		return
	}
	l.take(k, err)
	now := l.rotation(r.Name)
	if now.Active() != to.KID || now.Stage(l.now) != 2 || !slices.Equal(now.Accepted(l.now), []string{r.Active()}) {
		t.Fatalf("after apply: active %s, stage %d, accepted %v", now.Active(), now.Stage(l.now), now.Accepted(l.now))
	}
}

// rollsBack takes some key back, and sees that its stage is the one before.
func (l *life) rollsBack(t *rapid.T) {
	r := l.someKey(t)
	t1, overlap := time.Time{}, time.Duration(0)
	if rapid.Bool().Draw(t, "with t1") {
		t1, overlap = l.someT1(t)
	}
	k, err := rotation.Rollback(l.held(), r.Name, t1, overlap, l.change())
	if err != nil {
		code := capsign.CodeOf(err)
		if code != capsign.BadRequest && code != capsign.KeyRevoked {
			t.Fatalf("rollback: %v", err)
		}
		l.refused("rollback", k, err, code)
		return
	}
	l.take(k, err)
	now := l.rotation(r.Name)
	if want := map[int]int{3: 2, 2: 1, 1: 2}[r.Stage(l.now)]; now.Stage(l.now) != want {
		t.Fatalf("from stage %d to %d", r.Stage(l.now), now.Stage(l.now))
	}
	if kept := now.Active() == r.Active(); kept == (r.Stage(l.now) == 2) {
		t.Fatalf("from stage %d: the same kid signs: %v", r.Stage(l.now), kept)
	}
	if r.Stage(l.now) == 2 && now.Active() != r.Accepted(l.now)[0] {
		t.Fatal("stage 1 has another kid sign than the accepted one")
	}
}

// revokes takes some version away for good, whatever it did.
func (l *life) revokes(t *rapid.T) {
	r := l.someKey(t)
	victim := l.version(r.Name, rapid.SampledFrom(labels).Draw(t, "revoked"))
	var to *capsign.KeyVersion
	if rapid.Bool().Draw(t, "with replacement") {
		to = new(l.version(r.Name, rapid.SampledFrom(labels).Draw(t, "replacement")))
	}
	state := r.State(victim.KID, l.now)
	k, err := rotation.Revoke(l.held(), victim.KID, to, l.change())
	if err != nil {
		code := capsign.CodeOf(err)
		if !slices.Contains([]capsign.Code{capsign.BadRequest, capsign.KeyRevoked, capsign.KIDUnknown}, code) {
			t.Fatalf("revoke: %v", err)
		}
		if state != capsign.Active && to == nil && code == capsign.BadRequest {
			t.Fatalf("a kid that does not sign cannot be revoked: %v", err)
		}
		l.refused("revoke", k, err, code)
		return
	}
	l.take(k, err)
	l.revoked[victim.KID] = true
	now := l.rotation(r.Name)
	if state != capsign.Active && now.Active() != r.Active() {
		t.Fatal("revoking another kid changed who signs")
	}
	if accepted := r.Accepted(l.now); state == capsign.Active && len(accepted) == 1 &&
		now.Active() != accepted[0] && !slices.Equal(now.Accepted(l.now), accepted) {
		t.Fatal("revoking the active kid took the accepted one's signatures away")
	}
}

// renews makes a version that says the same.
func (l *life) renews(*rapid.T) { l.take(rotation.Renew(l.held(), l.change())) }

// ages lets time pass, often to within a nanosecond of an edge.
func (l *life) ages(t *rapid.T) {
	to := l.now.Add(time.Duration(rapid.Int64Range(0, int64(100*24*time.Hour)).Draw(t, "passed")))
	if rapid.Bool().Draw(t, "to an edge") {
		edges := slices.DeleteFunc(edgesOf(l.held().Keyring(), l.someKey(t)), func(edge time.Time) bool { return edge.Before(l.now) })
		to = rapid.SampledFrom(append(edges, to)).Draw(t, "edge")
	}
	l.now = to
}

// edgesOf are the instants at which a keyring changes its mind about a key, and
// the nanoseconds around them.
func edgesOf(k *capsign.Keyring, r capsign.KeyRotation) []time.Time {
	edges := []time.Time{k.Expires.Add(-1), k.Expires, k.Expires.Add(1)}
	if !r.T1.IsZero() {
		edges = append(edges, r.T1.Add(-1), r.T1, r.T1.Add(1))
	}
	return edges
}

// someKey returns where some key stands.
func (l *life) someKey(t *rapid.T) capsign.KeyRotation {
	return l.rotation(rapid.SampledFrom(names).Draw(t, "key"))
}

// rotation returns where a key stands.
func (l *life) rotation(name string) capsign.KeyRotation {
	r, err := l.held().Keyring().Rotation(name)
	if err != nil {
		l.history.Fatalf("%v", err)
	}
	return r
}

// someT1 returns a T1 or an overlap, sometimes both, neither, or in the past.
func (l *life) someT1(t *rapid.T) (t1 time.Time, overlap time.Duration) {
	d := time.Duration(rapid.Int64Range(-2, int64(60*24*time.Hour)).Draw(t, "overlap"))
	switch rapid.IntRange(0, 9).Draw(t, "how") {
	case 0:
		return time.Time{}, 0
	case 1:
		return l.now.Add(d), d
	case 2, 3, 4, 5:
		return l.now.Add(d), 0
	}
	return time.Time{}, d
}

// soundT1 reports whether one of the two is given and lies in the future.
func (l *life) soundT1(t1 time.Time, overlap time.Duration) bool {
	if t1.IsZero() {
		return overlap > 0
	}
	return overlap == 0 && t1.After(l.now)
}

// holds are the rules, at the present and at every edge, forth and back.
func (l *life) holds() {
	k := l.held().Keyring()
	for _, r := range k.Keys {
		for _, now := range append(edgesOf(k, r), l.now, begin.Add(-month), l.now.Add(1000*month)) {
			l.keyHolds(k, r, now)
		}
	}
}

// keyHolds are the rules of one key at one instant.
func (l *life) keyHolds(k *capsign.Keyring, r capsign.KeyRotation, now time.Time) {
	count := make(map[capsign.State]int)
	for _, label := range labels {
		count[l.kidHolds(k, l.version(r.Name, label).KID, label, now)]++
	}
	stage := r.Stage(now)
	if stage < 1 || stage > 3 || (stage == 2) != (len(r.Accepted(now)) == 1) || len(r.Accepted(now)) > 1 {
		l.history.Fatalf("stage %d with %d accepted", stage, len(r.Accepted(now)))
	}
	if slices.Contains(r.Retired(now), r.Active()) || l.revoked[r.Active()] {
		l.history.Fatalf("%s signs, retired or revoked", r.Active())
	}
	if k.Expired(now) {
		return
	}
	if count[capsign.Active] != 1 || count[capsign.Accepted] != len(r.Accepted(now)) {
		l.history.Fatalf("%v at %v", count, now)
	}
}

// kidHolds are the rules of one kid at one instant. It returns the kid's state,
// where it has one.
func (l *life) kidHolds(k *capsign.Keyring, kid, label string, now time.Time) capsign.State {
	state, err := k.State(kid, now)
	if err == nil && state != capsign.Retired && !now.Equal(l.now) {
		return state // the arithmetic of a signature is the same at any time
	}
	verified := k.Verify(kid, []byte("m"), l.sigs[label], now)
	switch {
	case l.revoked[kid]:
		if !errors.Is(err, capsign.KeyRevoked) || !errors.Is(verified, capsign.KeyRevoked) {
			l.history.Fatalf("revoked kid: %v, %v", err, verified)
		}
	case k.Expired(now):
		if !errors.Is(err, capsign.KeyringExpired) || !errors.Is(verified, capsign.KeyringExpired) {
			l.history.Fatalf("expired keyring: %v, %v", err, verified)
		}
	case err != nil:
		if !errors.Is(err, capsign.KIDUnknown) || !errors.Is(verified, capsign.KIDUnknown) {
			l.history.Fatalf("unknown kid: %v, %v", err, verified)
		}
	case state == capsign.Retired:
		if !errors.Is(verified, capsign.KeyRetired) {
			l.history.Fatalf("retired kid: %v", verified)
		}
	case verified != nil:
		l.history.Fatalf("%s kid: %v", state, verified)
	}
	return state
}
