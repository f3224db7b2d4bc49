package audit

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/capsign/cap/capsign"
)

// suffix ends the name of each file; before it stands the day, in UTC.
const suffix = ".jsonl"

// start is where an empty chain ends.
func start() tail { return tail{hash: strings.Repeat("0", 64)} }

// turnTo makes sure that the day's file is open.
func (l *Log) turnTo(day string) error {
	if l.day == day {
		return nil
	}
	file, err := os.OpenFile(filepath.Join(l.dir, day+suffix), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			return err
		}
	}
	l.file, l.day = file, day
	return syncDir(l.dir)
}

// syncDir makes a new file's name as durable as its content.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// files returns the paths of a directory's files, oldest first.
func files(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	slices.Sort(paths)
	return paths, err
}

// recoverTail returns where the chain in dir ends, after removing what a crash
// has left of a line.
func recoverTail(dir string) (tail, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tail{}, capsign.ConfigInvalid
	}
	paths, err := files(dir)
	if err != nil {
		return tail{}, capsign.ConfigInvalid
	}
	for _, path := range slices.Backward(paths) {
		last, err := lastLine(path)
		if err != nil {
			return tail{}, err
		}
		if last == nil {
			continue // a day without a whole line
		}
		var record Record
		if err := json.Unmarshal(last, &record, json.RejectUnknownMembers(true)); err != nil {
			return tail{}, capsign.AuditBroken
		}
		return tail{record.Seq, hashOf(last)}, nil
	}
	return start(), nil
}

// maxLine is longer than any record.
const maxLine = 4096

// lastLine cuts a file back to its last line end and returns the line before
// it, nil where there is none.
func lastLine(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, capsign.ConfigInvalid
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, capsign.ConfigInvalid
	}
	from := max(size-2*maxLine, 0)
	text := make([]byte, size-from)
	if _, err := file.ReadAt(text, from); err != nil {
		return nil, capsign.ConfigInvalid
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	if len(whole) < len(text) {
		if err := file.Truncate(from + int64(len(whole))); err != nil {
			return nil, capsign.ConfigInvalid
		}
	}
	if len(whole) == 0 {
		return nil, nil
	}
	whole = whole[:len(whole)-1]
	return whole[bytes.LastIndexByte(whole, '\n')+1:], nil
}

// Verify reads the whole log in dir and returns how many records it has. It
// wraps capsign.AuditBroken, and says after which record, where one does not
// follow from the one before.
func Verify(dir string) (records uint64, err error) {
	paths, err := files(dir)
	if err != nil {
		return 0, fmt.Errorf("audit: verify: %w", capsign.ConfigInvalid)
	}
	at := start()
	for _, path := range paths {
		if err := verifyFile(path, &at); err != nil {
			return at.seq, fmt.Errorf("audit: after record %d: %w", at.seq, err)
		}
	}
	return at.seq, nil
}

// verifyFile moves at over the records of one file.
func verifyFile(path string, at *tail) error {
	file, err := os.Open(path)
	if err != nil {
		return capsign.ConfigInvalid
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var record Record
		err := json.Unmarshal(lines.Bytes(), &record, json.RejectUnknownMembers(true))
		if err != nil || record.Seq != at.seq+1 || record.Prev != at.hash {
			return capsign.AuditBroken
		}
		at.seq, at.hash = record.Seq, hashOf(lines.Bytes())
	}
	if lines.Err() != nil {
		return capsign.AuditBroken
	}
	return nil
}
