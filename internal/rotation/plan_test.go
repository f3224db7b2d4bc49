package rotation_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// lines returns a plan's effects as people read them, with kids as k<label>.
func (h *history) lines(p rotation.Plan) []string {
	all := make([]string, len(p.Effects))
	for i, e := range p.Effects {
		all[i] = e.String()
		for kid, label := range h.kids {
			all[i] = strings.ReplaceAll(all[i], kid, "k"+label)
		}
	}
	return all
}

// last describes the history's last change.
func (h *history) last() rotation.Plan {
	if len(h.chain) == 1 {
		return rotation.Describe(nil, h.held().Keyring(), h.now)
	}
	return rotation.Describe(h.chain[len(h.chain)-2].Keyring(), h.held().Keyring(), h.now)
}

// tells compares what the last change means with lines.
func (h *history) tells(want ...string) {
	h.Helper()
	if diff := cmp.Diff(want, h.lines(h.last())); diff != "" {
		h.Errorf("%s: %s", h.held().Keyring().Action, diff)
	}
}

// TestPlansTellEverybody walks through a rotation there and back, and says at
// each step what operators are shown.
func TestPlansTellEverybody(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.tells(
		"workers of pool pool: key k: sign with k1",
		"verifiers: key k: accept k1",
		"operators: renew the keyring before 2027-11-23T12:00:00.000000007Z",
		"operators: the next version needs 1 of the roots "+h.roots[0].Public().Fingerprint(),
	)
	h.apply("2")
	h.tells(
		"workers of pool pool: key k: sign with k2",
		"workers of pool pool: key k: sign no more with k1",
		"verifiers: key k: accept k1 until 2026-12-23T12:00:00.000000007Z, then refuse it",
		"verifiers: key k: accept k2",
		"operators: renew the keyring before 2027-11-23T12:00:00.000000007Z",
	)
	h.rollback()
	h.tells(
		"workers of pool pool: key k: sign with k1",
		"workers of pool pool: key k: sign no more with k2",
		"verifiers: key k: accept k1 without an end",
		"verifiers: key k: refuse k2: it is retired",
		"operators: renew the keyring before 2027-11-23T12:00:00.000000007Z",
	)
	h.apply("2")
	h.pass(month)
	h.rollback()
	h.tells(
		"verifiers: key k: accept k1 until 2027-01-22T12:00:00.000000007Z, then refuse it",
		"operators: renew the keyring before 2027-12-23T12:00:00.000000007Z",
	)
	h.revoke("2", "3")
	h.tells(
		"workers of pool pool: key k: sign with k3",
		"workers of pool pool: key k: sign no more with k2",
		"verifiers: key k: accept k3",
		"verifiers: key k: refuse k2 for good: it is revoked",
		"operators: renew the keyring before 2027-12-23T12:00:00.000000007Z",
	)
	h.pass(rotation.DefaultExpiry)
	h.take(rotation.Renew(h.held(), h.change()))
	h.tells(
		"verifiers: the keyring had expired; its keys sign and verify again",
		"operators: renew the keyring before 2028-12-22T12:00:00.000000007Z",
	)
	h.take(rotation.SetRoots(h.held(), rootSet(1, rootOf(t, "a"), rootOf(t, "b")), h.change()))
	h.tells(
		"operators: renew the keyring before 2028-12-22T12:00:00.000000007Z",
		"operators: the next version needs 1 of the roots "+
			rootOf(t, "a").Public().Fingerprint()+", "+rootOf(t, "b").Public().Fingerprint(),
	)
}

// Where requests may name an accepted kid, the plan does not say that workers
// stop signing with it.
func TestPlansKnowThePolicy(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	first := rotation.FirstVersion(h.key("a", "1"))
	first.SignAccepted = true
	h.take(rotation.Add(h.held(), first, h.change()))
	h.apply("2")
	if got, want := h.lines(h.last())[1], "workers of pool pool: key a: sign with k1 only where a request names it, until 2026-12-23T12:00:00.000000007Z"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Versions that the keyring has no more room for are named, and so are those
// that nobody has ever accepted, but without a word to verifiers.
func TestPlansNameWhatIsForgotten(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	before, after := h.held().Keyring(), *h.held().Keyring()
	r := h.key1()
	r.Versions = append(r.Versions[1:], h.version("k", "3"))
	r.At, r.T1 = 0, time.Time{}
	after.Keys = []capsign.KeyRotation{r}
	plan := rotation.Describe(before, &after, h.now)
	want := []string{
		"verifiers: key k: forget k1: there are too many versions",
		"operators: renew the keyring before 2027-11-23T12:00:00.000000007Z",
	}
	if diff := cmp.Diff(want, h.lines(plan)); diff != "" {
		t.Error(diff)
	}
}

// TestPlansInJSON holds the form that programs read.
func TestPlansInJSON(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k", "other")
	h.apply("2")
	data, err := json.Marshal(h.last())
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for kid, label := range h.kids {
		text = strings.ReplaceAll(text, kid, "k"+label)
	}
	root := h.roots[0].Public().Fingerprint()
	want := `{"version":2,"action":"rotate","reason":"reason",` +
		`"expires":{"before":"2027-11-23T12:00:00.000000007Z","after":"2027-11-23T12:00:00.000000007Z"},` +
		`"roots":{"before":["` + root + `"],"after":["` + root + `"]},"threshold":{"before":1,"after":1},` +
		`"keys":[{"key":"k","pool":"pool","stage":{"before":1,"after":2},"active":{"before":"k1","after":"k2"},` +
		`"t1":{"after":"2026-12-23T12:00:00.000000007Z"},"sign_accepted":false,"kids":[` +
		`{"kid":"k1","alg":"Ed25519","provider":"software","standing":{"before":"active","after":"accepted"},"until":"2026-12-23T12:00:00.000000007Z"},` +
		`{"kid":"k2","alg":"Ed25519","provider":"software","standing":{"after":"active"}}]}],` +
		`"effects":[` +
		`{"whom":"workers of pool pool","key":"k","kind":"sign","kid":"k2","text":"sign with k2"},` +
		`{"whom":"workers of pool pool","key":"k","kind":"stop","kid":"k1","text":"sign no more with k1"},` +
		`{"whom":"verifiers","key":"k","kind":"accept","kid":"k1","until":"2026-12-23T12:00:00.000000007Z",` +
		`"text":"accept k1 until 2026-12-23T12:00:00.000000007Z, then refuse it"},` +
		`{"whom":"verifiers","key":"k","kind":"accept","kid":"k2","text":"accept k2"},` +
		`{"whom":"operators","kind":"expire","until":"2027-11-23T12:00:00.000000007Z","text":"renew the keyring before 2027-11-23T12:00:00.000000007Z"}]}`
	if diff := cmp.Diff(want, text); diff != "" {
		t.Error(diff)
	}
}
