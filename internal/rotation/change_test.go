package rotation_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// begin is when the tests' histories begin, and month an overlap.
var begin = time.Date(2026, 11, 23, 12, 0, 0, 7, time.UTC)

const month = 30 * 24 * time.Hour

// failer is what *testing.T and *rapid.T share.
type failer interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// history is a keyring's versions as they come about. Its key versions go by
// labels, one public key each.
type history struct {
	failer
	roots []rotation.RootSigner
	now   time.Time
	chain []*capsign.SignedKeyring
	kids  map[string]string         // labels by kid
	made  map[[2]string]capsign.Key // by name and label
}

// newHistory begins a history in which each key name has version "1".
func newHistory(t failer, roots []rotation.RootSigner, names ...string) *history {
	t.Helper()
	h := &history{failer: t, roots: roots, now: begin, kids: make(map[string]string), made: make(map[[2]string]capsign.Key)}
	keys := make([]capsign.KeyRotation, len(names))
	for i, name := range names {
		keys[i] = rotation.FirstVersion(h.key(name, "1"))
	}
	h.take(rotation.Init(h.rootSet(len(roots)), keys, h.change()))
	return h
}

// key returns the public key of that name and label.
func (h *history) key(name, label string) capsign.Key {
	h.Helper()
	if key, ok := h.made[[2]string{name, label}]; ok {
		return key
	}
	spki, err := capsign.MarshalPublicKey(labelled(label).Public())
	if err != nil {
		h.Fatalf("%v", err)
	}
	key, err := capsign.NewKey(capsign.Ed25519, spki, capsign.ProviderSoftware, name)
	if err != nil {
		h.Fatalf("%v", err)
	}
	key.Pool = "pool"
	h.kids[key.KID], h.made[[2]string{name, label}] = label, key
	return key
}

// version returns a key version as changes take it.
func (h *history) version(name, label string) capsign.KeyVersion {
	h.Helper()
	return capsign.VersionOf(h.key(name, label))
}

// labelled returns the private key that belongs to a label.
func labelled(label string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(label))
	return ed25519.NewKeyFromSeed(seed[:])
}

// rootOf returns the root that belongs to a label.
func rootOf(t failer, label string) rotation.RootSigner {
	t.Helper()
	root, err := rotation.SoftwareRoot(labelled("root " + label))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return root
}

// rootSet returns the history's roots, of which threshold must sign.
func (h *history) rootSet(threshold int) capsign.Roots { return rootSet(threshold, h.roots...) }

// rootSet returns the roots' public halves.
func rootSet(threshold int, signers ...rotation.RootSigner) capsign.Roots {
	all := capsign.Roots{Threshold: threshold}
	for _, signer := range signers {
		all.Keys = append(all.Keys, signer.Public())
	}
	return all
}

// change returns what every change has.
func (h *history) change() rotation.Change { return rotation.Change{Reason: "reason", Now: h.now} }

// held returns the version in force.
func (h *history) held() *capsign.SignedKeyring { return h.chain[len(h.chain)-1] }

// key1 returns where the first key stands.
func (h *history) key1() capsign.KeyRotation { return h.held().Keyring().Keys[0] }

// take has the roots sign what a change returned, and puts it in force.
func (h *history) take(k capsign.Keyring, err error) {
	h.Helper()
	if err != nil {
		h.Fatalf("change: %v", err)
	}
	s, err := rotation.Sign(context.Background(), k, h.roots...)
	if err != nil {
		h.Fatalf("sign: %v", err)
	}
	if len(h.chain) > 0 {
		if err := capsign.Succeeds(h.held(), s); err != nil {
			h.Fatalf("no successor: %v", err)
		}
	}
	if !reflect.DeepEqual(k, *s.Keyring()) {
		h.Fatalf("another keyring after decoding: %s", cmp.Diff(k, *s.Keyring()))
	}
	h.chain = append(h.chain, s)
}

// refused says that a change has to wrap code and to return nothing.
func (h *history) refused(what string, k capsign.Keyring, err error, code capsign.Code) {
	h.Helper()
	if got, _ := errors.AsType[capsign.Code](err); got != code {
		h.Errorf("%s: error %v, want %s", what, err, code)
	}
	if diff := cmp.Diff(capsign.Keyring{}, k); diff != "" {
		h.Errorf("%s: a keyring beside an error: %s", what, diff)
	}
}

// apply rotates the first key to the label's version.
func (h *history) apply(label string) {
	h.Helper()
	name := h.key1().Name
	h.take(rotation.Apply(h.held(), name, h.version(name, label), time.Time{}, month, h.change()))
}

// rollback takes the first key one stage back.
func (h *history) rollback() {
	h.Helper()
	h.take(rotation.Rollback(h.held(), h.key1().Name, time.Time{}, 0, h.change()))
}

// pass lets time pass.
func (h *history) pass(d time.Duration) { h.now = h.now.Add(d) }

// labels returns kids' labels, sorted, in one word.
func (h *history) labels(kids []string) string {
	all := make([]string, len(kids))
	for i, kid := range kids {
		all[i] = h.kids[kid]
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// stands compares where the first key stands now with its stage and the labels
// of what is active, accepted and retired.
func (h *history) stands(stage int, active, accepted, retired string) {
	h.Helper()
	h.standsAt(h.now, stage, active, accepted, retired)
}

// standsAt is stands at another time.
func (h *history) standsAt(now time.Time, stage int, active, accepted, retired string) {
	h.Helper()
	type row struct {
		Stage                     int
		Active, Accepted, Retired string
	}
	r := h.key1()
	want := row{stage, active, accepted, retired}
	got := row{r.Stage(now), h.kids[r.Active()], h.labels(r.Accepted(now)), h.labels(r.Retired(now))}
	if diff := cmp.Diff(want, got); diff != "" {
		h.Errorf("at %v: %s", now, diff)
	}
}

func TestInitSortsAndDates(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "z", "a", "m")
	k := h.held().Keyring()
	if k.Version != 1 || k.Action != capsign.ActionInit || k.Keys[0].Name != "a" || k.Keys[2].Name != "z" {
		t.Errorf("first keyring %+v", k)
	}
	if !k.Issued.Equal(begin) || !k.Expires.Equal(begin.Add(rotation.DefaultExpiry)) {
		t.Errorf("issued %v, expires %v", k.Issued, k.Expires)
	}
	h.stands(1, "1", "", "")
}

func TestInitRefuses(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	first := []capsign.KeyRotation{rotation.FirstVersion(h.key("k", "1"))}
	for name, tc := range map[string]struct {
		roots capsign.Roots
		keys  []capsign.KeyRotation
		c     rotation.Change
	}{
		"no keys":      {h.rootSet(1), nil, h.change()},
		"a key twice":  {h.rootSet(1), append(first, first...), h.change()},
		"no roots":     {capsign.Roots{}, first, h.change()},
		"no reason":    {h.rootSet(1), first, rotation.Change{Now: begin}},
		"no time":      {h.rootSet(1), first, rotation.Change{Reason: "r"}},
		"expired":      {h.rootSet(1), first, rotation.Change{Reason: "r", Now: begin, Expires: -1}},
		"year too far": {h.rootSet(1), first, rotation.Change{Reason: "r", Now: begin.AddDate(8000, 0, 0)}},
	} {
		k, err := rotation.Init(tc.roots, tc.keys, tc.c)
		h.refused(name, k, err, capsign.BadRequest)
	}
}

// Times come in any zone and with a monotonic reading, and leave as UTC.
func TestTimesAreUTC(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	zone := time.FixedZone("east", 3600)
	h.now = time.Now().In(zone)
	h.take(rotation.Apply(h.held(), "k", h.version("k", "2"), h.now.Add(time.Hour).In(zone), 0, h.change()))
	k := h.held().Keyring()
	if k.Issued != h.now.Round(0).UTC() || k.Keys[0].T1 != h.now.Round(0).UTC().Add(time.Hour) {
		t.Errorf("issued %v, t1 %v, at %v", k.Issued, k.Keys[0].T1, h.now)
	}
	if k.Keys[0].Overlap != capsign.Duration(time.Hour) {
		t.Errorf("overlap %v", k.Keys[0].Overlap)
	}
}

func TestNoChangeIsOlderThanItsPredecessor(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.take(rotation.Renew(h.held(), h.change())) // at the same nanosecond
	h.pass(-1)
	k, err := rotation.Renew(h.held(), h.change())
	h.refused("Renew", k, err, capsign.BadRequest)
}

// An expired keyring says nothing, but an operator can renew it.
func TestRenewRevivesAnExpiredKeyring(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.apply("2")
	h.pass(rotation.DefaultExpiry)
	kid := h.key1().Active()
	if _, err := h.held().Keyring().State(kid, h.now); !errors.Is(err, capsign.KeyringExpired) {
		t.Errorf("State of an expired keyring: %v", err)
	}
	before := h.held().Keyring().Keys
	h.take(rotation.Renew(h.held(), h.change()))
	if diff := cmp.Diff(before, h.held().Keyring().Keys); diff != "" {
		t.Errorf("renewing changed a key: %s", diff)
	}
	if state, err := h.held().Keyring().State(kid, h.now); err != nil || state != capsign.Active {
		t.Errorf("State of a renewed keyring: %s, %v", state, err)
	}
	h.pass(2 * rotation.DefaultExpiry)
	h.apply("3")
	h.stands(2, "3", "2", "1")
}

func TestAddNamesAFurtherKey(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k")
	h.take(rotation.Add(h.held(), rotation.FirstVersion(h.key("a", "5")), h.change()))
	if keys := h.held().Keyring().Keys; len(keys) != 2 || keys[0].Name != "a" || keys[1].Name != "k" {
		t.Errorf("keys %+v", keys)
	}
	k, err := rotation.Add(h.held(), rotation.FirstVersion(h.key("k", "6")), h.change())
	h.refused("Add of a name that is taken", k, err, capsign.BadRequest)
}

func TestRootsAreReplacedByOldAndNewTogether(t *testing.T) {
	a, b := rootOf(t, "a"), rootOf(t, "b")
	h := newHistory(t, []rotation.RootSigner{a}, "k")
	k, err := rotation.SetRoots(h.held(), rootSet(1, b), h.change())
	if err != nil {
		t.Fatal(err)
	}
	for _, only := range []rotation.RootSigner{a, b} {
		s, err := rotation.Sign(t.Context(), k, only)
		if err != nil {
			t.Fatal(err)
		}
		if err := capsign.Succeeds(h.held(), s); !errors.Is(err, capsign.KeyringUntrusted) {
			t.Errorf("signed by one side: %v", err)
		}
	}
	h.roots = []rotation.RootSigner{a, b}
	h.take(k, nil)
	h.roots = []rotation.RootSigner{b}
	h.take(rotation.Renew(h.held(), h.change()))
	h.refusedRoots(t)
}

// refusedRoots asks for a threshold that the roots cannot reach.
func (h *history) refusedRoots(t *testing.T) {
	t.Helper()
	k, err := rotation.SetRoots(h.held(), rootSet(2, h.roots[0]), h.change())
	h.refused("SetRoots", k, err, capsign.BadRequest)
}

// A change leaves alone what it is made of, and every other key.
func TestChangesLeaveTheRestAlone(t *testing.T) {
	h := newHistory(t, []rotation.RootSigner{rootOf(t, "a")}, "k", "other")
	h.apply("2")
	h.apply("3")
	held := h.held()
	data, err := held.Encode()
	if err != nil {
		t.Fatal(err)
	}
	other := held.Keyring().Keys[1]
	for _, try := range []func() (capsign.Keyring, error){
		func() (capsign.Keyring, error) {
			return rotation.Apply(held, "k", h.version("k", "1"), time.Time{}, month, h.change())
		},
		func() (capsign.Keyring, error) { return rotation.Rollback(held, "k", time.Time{}, 0, h.change()) },
		func() (capsign.Keyring, error) {
			return rotation.Revoke(held, h.version("k", "1").KID, nil, h.change())
		},
		func() (capsign.Keyring, error) {
			to := h.version("k", "4")
			return rotation.Revoke(held, h.version("k", "3").KID, &to, h.change())
		},
		func() (capsign.Keyring, error) {
			return rotation.Add(held, rotation.FirstVersion(h.key("a", "1")), h.change())
		},
		func() (capsign.Keyring, error) { return rotation.Renew(held, h.change()) },
	} {
		k, err := try()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(other, k.Keys[len(k.Keys)-1]); diff != "" {
			t.Errorf("%s: the other key changed: %s", k.Action, diff)
		}
		again, err := capsign.NewSignedKeyring(*held.Keyring())
		if err != nil || again.Hash() != held.Hash() {
			t.Fatalf("%s: the keyring in force changed: %v", k.Action, err)
		}
	}
	if now, err := held.Encode(); err != nil || string(now) != string(data) {
		t.Errorf("the envelope changed: %v", err)
	}
}
