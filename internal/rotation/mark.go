package rotation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/capsign/cap/capsign"
)

// maxMark is the largest mark that is read, in bytes.
const maxMark = 4 << 20

// Mark is what a worker or a verifier remembers of keyrings: the newest it has
// seen, whom it believes, and the latest time. Neither an older keyring nor an
// earlier time counts after it. The zero Mark remembers nothing.
type Mark struct {
	// Signed is the newest keyring; nil means none.
	Signed *capsign.SignedKeyring
	// Trust says whose first keyring is believed.
	Trust capsign.Trust
	// LatestSeen is the latest time that was seen, in UTC.
	LatestSeen time.Time
}

// markFile is a Mark's form on disk.
type markFile struct {
	V          int             `json:"v"`
	Roots      []string        `json:"roots,omitempty"`
	Threshold  int             `json:"threshold,omitempty"`
	LatestSeen time.Time       `json:"latest_seen"`
	Signed     json.RawMessage `json:"signed,omitempty"`
}

// LoadMark reads a mark; where there is no file it is the zero Mark. A file that
// cannot be read, or that others may write to, wraps capsign.KeyringUntrusted:
// who could change it could bring back a retired key.
func LoadMark(path string) (Mark, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Mark{}, nil
	}
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || info.Size() > maxMark {
		return Mark{}, fmt.Errorf("rotation: mark file: %w", capsign.KeyringUntrusted)
	}
	data, err := os.ReadFile(path)
	var file markFile
	if err != nil || json.Unmarshal(data, &file) != nil || file.V != capsign.Version {
		return Mark{}, fmt.Errorf("rotation: mark file: %w", capsign.KeyringUntrusted)
	}
	m := Mark{Trust: capsign.Trust{Roots: file.Roots, Threshold: file.Threshold}, LatestSeen: file.LatestSeen}
	if file.Signed != nil {
		if m.Signed, err = capsign.ParseSignedKeyring(file.Signed); err != nil {
			return Mark{}, fmt.Errorf("rotation: mark file: %w", capsign.KeyringUntrusted)
		}
	}
	return m, nil
}

// Save writes the mark so that the file is either the old or the new one,
// whatever happens meanwhile. Its directory is made where it is missing.
func (m Mark) Save(path string) error {
	file := markFile{V: capsign.Version, Roots: m.Trust.Roots, Threshold: m.Trust.Threshold, LatestSeen: m.LatestSeen.UTC()}
	if m.Signed != nil {
		data, err := m.Signed.Encode()
		if err != nil {
			return err
		}
		file.Signed = data
	}
	data, err := json.Marshal(file)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = renameio.WriteFile(path, data, 0o600, renameio.WithStaticPermissions(0o600))
	}
	if err != nil {
		return fmt.Errorf("rotation: mark file cannot be written: %w", capsign.ConfigInvalid)
	}
	return nil
}

// Now returns the time that counts when the clock says clock: never an earlier
// one than was seen, or than the keyring was made at.
func (m Mark) Now(clock time.Time) time.Time {
	now := clock
	if now.Before(m.LatestSeen) {
		now = m.LatestSeen
	}
	if m.Signed != nil && now.Before(m.Signed.Keyring().Issued) {
		now = m.Signed.Keyring().Issued
	}
	return now
}

// Pinned reports whether a keyring is required: whoever has known one, or whom
// to believe, never does without again.
func (m Mark) Pinned() bool { return m.Signed != nil || len(m.Trust.Roots) > 0 }

// Advance returns the newest of the given keyrings, by version, that the mark's
// trust leads to: the mark's own where none is newer, nil where there is none at
// all. A keyring that is not to be believed, or of which a predecessor is
// missing that only the predecessor's roots could vouch for, is passed over; err
// says what the last such was refused with.
func (m Mark) Advance(chain []*capsign.SignedKeyring) (newest *capsign.SignedKeyring, err error) {
	newest = m.Signed
	for _, next := range chain {
		var refused error
		switch {
		case newest == nil:
			refused = m.Trust.First(next)
		case next.Hash() == newest.Hash() || next.Keyring().Version < newest.Keyring().Version:
			continue // known, or what came before what is known
		default:
			refused = follows(newest, next)
		}
		if refused != nil {
			err = refused
			continue
		}
		newest = next
	}
	return newest, err
}

// follows checks that next may come after held: as its successor or, where what
// is between them was lost or spoilt, by the signatures of held's own roots.
func follows(held, next *capsign.SignedKeyring) error {
	if next.Keyring().Version <= held.Keyring().Version+1 {
		return capsign.Succeeds(held, next)
	}
	if next.Missing(held.Keyring().Roots) > 0 || next.Missing(next.Keyring().Roots) > 0 {
		return fmt.Errorf("rotation: keyring: %w", capsign.KeyringUntrusted)
	}
	if next.Keyring().Issued.Before(held.Keyring().Issued) {
		return fmt.Errorf("rotation: keyring: %w", capsign.KeyringFork)
	}
	return nil
}
