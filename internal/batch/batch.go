// Package batch is what "cap sign-batch" keeps on disk: the list of artifacts,
// the journal of requests and the outcomes, so that a run that was ended in any
// way can be taken up where it was.
package batch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/capsign/cap/capsign"
)

// suffix ends the name of the directory beside the outcomes, which is there for
// as long as the run is not complete.
const suffix = ".run"

// Names in that directory.
const (
	aboutName    = "run.json"
	listName     = "list"
	requestsName = "requests.jsonl"
)

// What a signature is made for.
const (
	// Contents signs the bytes of a file.
	Contents = "contents"
	// Checksum signs the line that "sha256sum FILE" prints.
	Checksum = "checksum"
)

// Settings is what a run must be taken up with as it was begun.
type Settings struct {
	What     string   `json:"what"`
	Pool     string   `json:"pool,omitempty"`
	Key      string   `json:"key,omitempty"`
	KID      string   `json:"kid,omitempty"`
	Paths    []string `json:"paths,omitempty"`
	Manifest string   `json:"manifest,omitempty"`
	Stdin    bool     `json:"stdin,omitempty"`
	Null     bool     `json:"null,omitempty"`
	Dir      string   `json:"dir"` // where paths begin
}

// about is a run's record on disk.
type about struct {
	V        int      `json:"v"`
	ID       string   `json:"id"`
	Settings Settings `json:"settings"`
	Items    int      `json:"items"`
	ListSum  string   `json:"list_sha256"`
}

// Reasons why a run cannot be begun or taken up. Each wraps one capsign.Code.
var (
	// ErrTaken means that the outcomes' file is there, and no run that writes it.
	ErrTaken = fmt.Errorf("batch: the file exists: %w", capsign.BadRequest)
	// ErrBusy means that another process writes it now.
	ErrBusy = fmt.Errorf("batch: another process is at it: %w", capsign.BadRequest)
	// ErrOther means that the run was begun with other settings, or with a list
	// of other artifacts.
	ErrOther = fmt.Errorf("batch: another run: %w", capsign.BadRequest)
	// ErrBroken means that what is on disk is not what a run leaves.
	ErrBroken = fmt.Errorf("batch: not a run's files: %w", capsign.BadRequest)
	// ErrEmpty means that there is nothing to sign.
	ErrEmpty = fmt.Errorf("batch: no artifacts: %w", capsign.BadRequest)
)

// Run is a run on disk. Only one process has it open.
type Run struct {
	// ID is the client id of its requests.
	ID string
	// Items is how many artifacts it has.
	Items int
	// Resumed says that it was begun by another process.
	Resumed bool
	// Tally counts the outcomes that are noted.
	Tally Tally

	out, dir string
	lock     *os.File
	outcomes *outcomes
}

// Open begins the run whose outcomes go to the file out, or takes it up. Its
// artifacts are those that source names; where the run was begun before, the
// source must name the same ones if it can be asked again. Restart forgets what
// there is of an earlier run, its outcomes included.
func Open(out string, settings Settings, source Source, restart bool) (_ *Run, err error) {
	r := &Run{out: out, dir: out + suffix}
	if err := r.claim(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.abandon()
		}
	}()
	if restart {
		if err := r.forget(); err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(r.path(aboutName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = r.begin(settings, source)
	case err == nil:
		err = r.takeUp(data, settings, source)
	}
	if err != nil {
		return nil, err
	}
	r.outcomes, err = openOutcomes(out, r)
	return r, err
}

// path returns where a file of the run is.
func (r *Run) path(name string) string { return filepath.Join(r.dir, name) }

// claim makes the run's directory this process's own until it ends.
func (r *Run) claim() error {
	if err := os.Mkdir(r.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	lock, err := os.Open(r.dir)
	if err != nil {
		return err
	}
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		_ = lock.Close() // nothing was written
		return ErrBusy
	}
	r.lock = lock
	return nil
}

// abandon gives the directory up, and removes it where no run was begun in it.
func (r *Run) abandon() {
	if _, err := os.Stat(r.path(aboutName)); errors.Is(err, fs.ErrNotExist) {
		_ = os.Remove(r.path(listName))
		_ = os.Remove(r.dir)
	}
	_ = r.lock.Close()
}

// forget removes an earlier run's files. What says that there is a run goes
// first.
func (r *Run) forget() error {
	for _, path := range []string{r.path(aboutName), r.path(requestsName), r.path(listName), r.out} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// begin writes down what a new run is about.
func (r *Run) begin(settings Settings, source Source) error {
	if _, err := os.Lstat(r.out); !errors.Is(err, fs.ErrNotExist) {
		return ErrTaken
	}
	if err := os.Remove(r.path(requestsName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.Create(r.path(listName))
	if err != nil {
		return err
	}
	items, sum, err := writeList(file, source)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if items == 0 {
		return ErrEmpty
	}
	r.ID, r.Items = capsign.NewClientID(), items
	data, err := json.Marshal(about{V: 1, ID: r.ID, Settings: settings, Items: items, ListSum: sum})
	if err != nil {
		return ErrBroken
	}
	return renameio.WriteFile(r.path(aboutName), append(data, '\n'), 0o600)
}

// takeUp reads what an earlier process wrote down.
func (r *Run) takeUp(data []byte, settings Settings, source Source) error {
	var have about
	switch {
	case json.Unmarshal(data, &have) != nil || have.V != 1 || have.Items < 1:
		return ErrBroken
	case !reflect.DeepEqual(have.Settings, settings):
		return ErrOther
	}
	if source.Again() {
		if _, sum, err := writeList(io.Discard, source); err != nil {
			return err
		} else if sum != have.ListSum {
			return ErrOther
		}
	}
	r.ID, r.Items, r.Resumed = have.ID, have.Items, true
	return nil
}

// Close leaves the run as it is, to be taken up again, or removes its directory
// where every artifact has its outcome. It does not return before the outcomes
// are on disk.
func (r *Run) Close() error {
	defer r.lock.Close() //nolint:errcheck // nothing was written
	if err := r.outcomes.close(); err != nil {
		return err
	}
	if r.Tally.Done() < r.Items {
		return nil
	}
	// Without this one, there is no run any more; the rest is only tidy.
	if err := os.Remove(r.path(aboutName)); err != nil {
		return err
	}
	return os.RemoveAll(r.dir)
}
