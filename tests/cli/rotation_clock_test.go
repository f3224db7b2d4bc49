package cli_test

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// officer makes keyrings out of keyrings and exports them.
type officer struct {
	t     *testing.T
	dir   string
	root  rotation.RootSigner
	chain []*capsign.SignedKeyring
}

// newOfficer has an officer begin with a key.
func newOfficer(t *testing.T, first capsign.Key) *officer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	root, err := rotation.SoftwareRoot(private)
	if err != nil {
		t.Fatal(err)
	}
	o := &officer{t: t, dir: t.TempDir(), root: root}
	roots := capsign.Roots{Threshold: 1, Keys: []capsign.RootKey{root.Public()}}
	o.add(rotation.Init(roots, []capsign.KeyRotation{rotation.FirstVersion(first)}, o.change()))
	return o
}

// change returns what every change has.
func (o *officer) change() rotation.Change {
	return rotation.Change{Reason: "test", Now: time.Now().UTC()}
}

// held returns the newest keyring.
func (o *officer) held() *capsign.SignedKeyring { return o.chain[len(o.chain)-1] }

// add signs a keyring.
func (o *officer) add(k capsign.Keyring, err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
	signed, err := rotation.Sign(o.t.Context(), k, o.root)
	if err != nil {
		o.t.Fatal(err)
	}
	o.chain = append(o.chain, signed)
}

// export writes the chain to a file.
func (o *officer) export() string {
	o.t.Helper()
	data, err := capsign.EncodeChain(o.chain)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.write("ring.json", data)
}

// write writes a file.
func (o *officer) write(name string, data []byte) string {
	o.t.Helper()
	path := filepath.Join(o.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// signer is a key version with its private half.
type signer struct {
	capsign.Key
	private ed25519.PrivateKey
}

// newSigner makes a key version.
func newSigner(t *testing.T) signer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t, public)
	key.Pool = "default"
	return signer{key, private}
}

// verifies has cap check the key version's signature against the exported
// keyring, and returns its exit status and what it said of it.
func (o *officer) verifies(s signer, state string) (status int, said string) {
	o.t.Helper()
	msg := []byte("three billion devices")
	out, errs, status := capRun(o.t.Context(), nil, "verify-signature", "--in", o.write("msg", msg),
		"--sig", o.write("sig", ed25519.Sign(s.private, msg)), "--kid", s.KID, "--keyring", o.export(), "--state", state,
		"--root-fingerprint", o.root.Public().Fingerprint())
	return status, out + errs
}

// expect says which of the two verify.
func (o *officer) expect(when string, old, next signer, oldStatus, nextStatus int) {
	o.t.Helper()
	state := filepath.Join(o.dir, "state.json")
	if status, said := o.verifies(old, state); status != oldStatus {
		o.t.Errorf("%s: the old key: %d, want %d: %s", when, status, oldStatus, said)
	}
	if status, said := o.verifies(next, state); status != nextStatus {
		o.t.Errorf("%s: the new key: %d, want %d: %s", when, status, nextStatus, said)
	}
}

func TestTheMissionByAFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := newSigner(t), newSigner(t)
		o := newOfficer(t, old.Key)
		o.expect("stage 1", old, next, 0, 4)

		const overlap = 30 * 24 * time.Hour
		o.add(rotation.Apply(o.held(), old.Name, capsign.VersionOf(next.Key), time.Time{}, overlap, o.change()))
		o.expect("stage 2", old, next, 0, 0)
		time.Sleep(overlap - 1)
		o.expect("a nanosecond before T1", old, next, 0, 0)
		time.Sleep(time.Nanosecond)
		o.expect("at T1", old, next, 1, 0)
		time.Sleep(90 * 24 * time.Hour)
		o.expect("stage 3", old, next, 1, 0)

		o.add(rotation.Rollback(o.held(), old.Name, time.Time{}, 0, o.change()))
		o.expect("back in stage 2", old, next, 0, 0)
		time.Sleep(overlap)
		o.expect("at the new T1", old, next, 1, 0)
		o.add(rotation.Rollback(o.held(), old.Name, time.Time{}, time.Hour, o.change()))
		o.add(rotation.Rollback(o.held(), old.Name, time.Time{}, 0, o.change()))
		o.expect("back in stage 1", old, next, 0, 1)

		o.add(rotation.Revoke(o.held(), next.KID, nil, o.change()))
		o.expect("revoked", old, next, 0, 1)
		time.Sleep(365*24*time.Hour - 1)
		o.expect("before it expires", old, next, 0, 1)
		time.Sleep(time.Nanosecond)
		o.expect("expired", old, next, 1, 1)
	})
}

func TestAClockThatStepsBackRevivesNoKey(t *testing.T) {
	var old, next signer
	var o *officer
	state := filepath.Join(t.TempDir(), "state.json")
	synctest.Test(t, func(t *testing.T) {
		old, next = newSigner(t), newSigner(t)
		o = newOfficer(t, old.Key)
		o.dir = filepath.Dir(state)
		o.add(rotation.Apply(o.held(), old.Name, capsign.VersionOf(next.Key), time.Time{}, time.Hour, o.change()))
		time.Sleep(time.Hour)
		if status, said := o.verifies(old, state); status != 1 || !strings.Contains(said, "key_retired") {
			t.Errorf("at T1: %d: %s", status, said)
		}
	})
	synctest.Test(t, func(t *testing.T) { // whose clock begins again
		o.t = t
		status, said := o.verifies(old, state)
		if status != 1 || !strings.Contains(said, "key_retired") || !strings.Contains(said, "the clock is behind") {
			t.Errorf("after the step: %d: %s", status, said)
		}
		if status, said := o.verifies(old, state+".fresh"); status != 0 {
			t.Errorf("who has not seen T1: %d: %s", status, said)
		}
	})
}

func TestTheTimelineShowsHowMuchIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := newSigner(t), newSigner(t)
		o := newOfficer(t, old.Key)
		const overlap = 30 * 24 * time.Hour
		o.add(rotation.Apply(o.held(), old.Name, capsign.VersionOf(next.Key), time.Time{}, overlap, o.change()))
		time.Sleep(overlap / 2)
		show := func() string {
			out, errs, status := capRun(t.Context(), nil, "rotate", "status", "--keyring", o.export(),
				"--root-fingerprint", o.root.Public().Fingerprint())
			if status != 0 {
				t.Fatal(errs)
			}
			_, bar, _ := strings.Cut(out, "\n               2000-")
			return strings.NewReplacer(old.KID[:8], "11111111", next.KID[:8], "22222222").Replace(bar)
		}
		want := `01-01 00:00:00                   T1 2000-01-31 00:00:00
old 11111111   =============================|.............................x
new 22222222   =============================|.............................>
                                            now, 15 days left
`
		if got := show(); got != want {
			t.Errorf("in the middle:\n%s\nwant:\n%s", got, want)
		}
		time.Sleep(overlap)
		want = `01-01 00:00:00 T1 2000-01-31 00:00:00
old 11111111   =======================================x
new 22222222   ===========================================================|
                                                                        now
`
		if got := show(); got != want {
			t.Errorf("after T1:\n%s\nwant:\n%s", got, want)
		}
	})
}
