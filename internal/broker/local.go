package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/google/renameio/v2"

	"github.com/capsign/cap/capsign"
)

// localFile is the name, in a worker's data directory, of what a client on the
// same machine needs.
const localFile = "client.json"

// local is that file's content.
type local struct {
	V   int    `json:"v"`
	URL string `json:"url"`
}

// WriteLocal leaves in the data directory what a client on the same machine
// needs to reach the broker at url. The file is readable by its owner alone.
func WriteLocal(dir, url string) error {
	data, err := json.Marshal(local{capsign.Version, url})
	if err != nil {
		return fmt.Errorf("broker: write %s: %w", localFile, capsign.Internal)
	}
	if err := replacePrivate(filepath.Join(dir, localFile), append(data, '\n')); err != nil {
		return fmt.Errorf("broker: write %s: %w", localFile, capsign.ConfigInvalid)
	}
	return nil
}

// replacePrivate replaces a file whole, and makes it its owner's alone whatever
// the old one was.
func replacePrivate(path string, data []byte) error {
	file, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer file.Cleanup() //nolint:errcheck // nothing is left to clean up after the replacement
	if _, err := file.Write(data); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

// ReadLocal returns the URL that a worker left in its data directory, or ""
// where none has. It refuses a file that another user owns or could have
// written: the URL decides who gets the requests.
func ReadLocal(dir string) (string, error) {
	path := filepath.Join(dir, localFile)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil || !isOwn(info) {
		return "", fmt.Errorf("broker: read %s: not a file of this user's alone: %w", localFile, capsign.ConfigInvalid)
	}
	data, err := os.ReadFile(path)
	var found local
	if err != nil || json.Unmarshal(data, &found, json.RejectUnknownMembers(true)) != nil || found.V != capsign.Version {
		return "", fmt.Errorf("broker: read %s: %w", localFile, capsign.ConfigInvalid)
	}
	return found.URL, nil
}

// isOwn reports whether a file is a regular one that this user owns and no
// other may touch.
func isOwn(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().IsRegular() && info.Mode().Perm()&0o077 == 0 && int(stat.Uid) == os.Geteuid()
}
