package batch

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"

	"github.com/go-json-experiment/json"

	"github.com/capsign/cap/capsign"
)

// maxLine is longer than any line of a run's files.
const maxLine = 1 << 20

// journal keeps a run's requests in a file, one in a line.
type journal struct {
	path string
	file *os.File // nil until something is written
}

// Journal returns the run's journal. Its caller closes it.
func (r *Run) Journal() interface {
	capsign.Journal
	io.Closer
} {
	return &journal{path: r.path(requestsName)}
}

// Append keeps an entry.
func (j *journal) Append(entry capsign.Entry) error {
	line, err := json.Marshal(entry)
	if err != nil {
		return capsign.Internal
	}
	if j.file == nil {
		if j.file, err = os.OpenFile(j.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return unreadable(err)
		}
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		return unreadable(err)
	}
	if err := j.file.Sync(); err != nil {
		return unreadable(err)
	}
	return nil
}

// Entries yields what was kept, having cut off what a crash left of a line: its
// request was not published.
func (j *journal) Entries() iter.Seq2[capsign.Entry, error] {
	return func(yield func(capsign.Entry, error) bool) {
		_, err := eachLine(j.path, func(line []byte) error {
			var entry capsign.Entry
			if json.Unmarshal(line, &entry, json.RejectUnknownMembers(true)) != nil {
				return ErrBroken
			}
			if !yield(entry, nil) {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			yield(capsign.Entry{}, err)
		}
	}
}

// Close closes the file.
func (j *journal) Close() error {
	if j.file == nil {
		return nil
	}
	return j.file.Close()
}

// errEnough ends eachLine.
var errEnough = errors.New("batch: enough")

// eachLine calls do with each whole line of a file, without its end, and cuts
// off what follows the last. It returns the file's length then; a file that is
// not there has no lines.
func eachLine(path string, do func(line []byte) error) (size int64, err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, unreadable(err)
	}
	defer file.Close() //nolint:errcheck // what was cut off may come back, to be cut off again
	lines := bufio.NewReaderSize(file, maxLine)
	for {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			if len(line) > 0 {
				err = file.Truncate(size)
			} else {
				err = nil
			}
			return size, err
		case err != nil:
			return size, ErrBroken
		}
		size += int64(len(line))
		if err := do(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return size, err
		}
	}
}
