package rotation_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

func TestMarkOutlivesItsProcess(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "state", "keyring.json")
	if m, err := rotation.LoadMark(path); err != nil || m.Pinned() {
		t.Errorf("a mark out of nothing: %+v, %v", m, err)
	}
	want := w.pinned()
	want.Signed, want.LatestSeen = w.init(), w.now.Add(time.Hour)
	must(t, want.Save(path))
	got, err := rotation.LoadMark(path)
	if err != nil || got.Signed.Hash() != want.Signed.Hash() || !got.LatestSeen.Equal(want.LatestSeen) || got.Trust.Roots[0] != want.Trust.Roots[0] {
		t.Errorf("mark %+v became %+v, %v", want, got, err)
	}
	if now := got.Now(w.now); !now.Equal(want.LatestSeen) {
		t.Errorf("the time went back to %v", now)
	}
	if now := (rotation.Mark{Signed: want.Signed}).Now(w.now.Add(-time.Hour)); now.Before(want.Signed.Keyring().Issued) {
		t.Errorf("the time is %v, before the keyring was made", now)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the mark's mode: %v, %v", info.Mode(), err)
	}
	for name, spoil := range map[string]func() error{
		"garbage":             func() error { return os.WriteFile(path, []byte("garbage"), 0o600) },
		"writable for others": func() error { return errors.Join(want.Save(path), os.Chmod(path, 0o666)) },
	} {
		must(t, spoil())
		if _, err := rotation.LoadMark(path); !errors.Is(err, capsign.KeyringUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
