package rotation_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

func TestTwoOperatorsDoNotOverwriteEachOther(t *testing.T) {
	w := newWorld(t)
	first := w.init()
	one, other := w.rotated(first, 1, time.Hour), w.rotated(first, 2, time.Hour)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, s := range []*capsign.SignedKeyring{one, other} {
		both.Go(func() { errs[i] = w.store.Publish(t.Context(), s) })
	}
	both.Wait()
	if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), capsign.KeyringFork) {
		t.Errorf("publications ended with %v", errs)
	}
	winner := one
	if errs[0] != nil {
		winner = other
	}
	must(t, w.store.Publish(t.Context(), winner)) // once more changes nothing
	w.mustHold(w.pinned(), winner)
}

// Whoever may write to the bucket can put anything there before the operator
// does, and after.
func TestWhatStrangersWriteChangesNothing(t *testing.T) {
	w := newWorld(t)
	stranger := newRoot(t)
	own, err := rotation.Init(roots(stranger), []capsign.KeyRotation{rotation.FirstVersion(w.keys[3])}, w.change())
	strangers := w.sign(own, err, stranger)
	encoded, err := strangers.Encode()
	must(t, err)

	w.put(1, encoded) // squatted before the operator has begun
	if got, err := w.latest(w.pinned()); !errors.Is(err, capsign.KeyringUntrusted) {
		t.Errorf("a stranger's keyring gave %v, %v", got, err)
	}
	first := w.init()
	w.mustHold(w.pinned(), first)

	w.put(2, []byte("garbage")) // the next version's place
	second := w.rotate(1, time.Hour)
	w.mustHold(w.pinned(), second)

	held := w.pinned()
	held.Signed = second
	leap := *second.Keyring()
	leap.Version, leap.Previous, leap.Roots = 7, second.Hash(), roots(stranger)
	leapt, err := w.sign(leap, nil, stranger).Encode()
	must(t, err)
	w.put(7, leapt) // signed, but not by whom the held one names
	w.mustHold(held, second)
	w.mustHold(w.pinned(), second)
	must(t, w.kv.Purge(t.Context(), "keyring.v7"))

	forged := *second.Keyring()
	forged.Version, forged.Previous = 3, second.Hash()
	unsigned, err := capsign.NewSignedKeyring(forged)
	must(t, err)
	noSignature, err := unsigned.Encode()
	must(t, err)
	old, err := first.Encode()
	must(t, err)
	for name, value := range map[string][]byte{
		"garbage": []byte("{}"), "nothing": {}, "a stranger's": encoded, "unsigned": noSignature, "an older one": old,
		"large": bytes.Repeat([]byte("x"), 1<<19),
	} {
		for _, version := range []int{1, 2, 3, 4, 999} {
			w.put(version, value)
		}
		w.mustHold(held, second)
		if got, err := w.latest(w.pinned()); err == nil && got.Hash() != first.Hash() {
			t.Errorf("%s: a verifier without a mark believed version %d", name, got.Keyring().Version)
		}
	}
	w.put(3, old) // one of the operator's own, in the wrong place
	third := w.rotate(2, time.Hour)
	w.mustHold(held, third)
	w.mustHold(w.pinned(), third)
}

func TestPurgedStoreIsNoWayBack(t *testing.T) {
	w := newWorld(t)
	w.init()
	second := w.rotate(1, time.Hour)
	held := w.pinned()
	held.Signed = second
	for _, name := range []string{"keyring.v1", "keyring.v2"} {
		must(t, w.kv.Purge(t.Context(), name))
	}
	w.mustHold(held, second)
	if _, err := w.latest(w.pinned()); !errors.Is(err, capsign.KeyringMissing) {
		t.Errorf("a pinned verifier without a keyring: %v", err)
	}
	js, err := jetstream.New(w.nc)
	must(t, err)
	must(t, js.DeleteKeyValue(t.Context(), capsign.KeyringBucket))
	w.mustHold(held, second)
	if _, err := w.latest(w.pinned()); !errors.Is(err, capsign.KeyringMissing) {
		t.Errorf("a pinned verifier without a bucket: %v", err)
	}
}

// A laggard goes from what it holds to the newest, even where what is between
// them is lost.
func TestLaggardIsNotStranded(t *testing.T) {
	w := newWorld(t)
	first := w.init()
	w.rotate(1, time.Hour)
	w.rotate(2, time.Hour)
	newest := w.rotate(3, time.Hour)
	held := w.pinned()
	held.Signed = first
	w.mustHold(held, newest)
	must(t, w.kv.Purge(t.Context(), "keyring.v2"))
	w.put(3, []byte("garbage"))
	w.mustHold(held, newest)
}

func TestForkAndReplayHaveTheirCodes(t *testing.T) {
	w := newWorld(t)
	first := w.init()
	one, other := w.rotated(first, 1, time.Hour), w.rotated(first, 2, time.Hour)
	held := w.pinned()
	held.Signed = one
	got, err := held.Advance([]*capsign.SignedKeyring{other})
	if got.Hash() != one.Hash() || !errors.Is(err, capsign.KeyringFork) {
		t.Errorf("a fork: %v, %v", got, err)
	}
	if got, err := held.Advance([]*capsign.SignedKeyring{first}); got.Hash() != one.Hash() || err != nil {
		t.Errorf("an older one: %v, %v", got, err)
	}
}
