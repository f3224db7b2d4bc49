package rotation_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"strings"
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
