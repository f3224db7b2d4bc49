// Package audit keeps a worker's record of what it decided, written before
// anybody learns of the decision: one line per request in a file per day, each
// line holding the hash of the one before, so that a line that is changed,
// removed or put in between shows.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/capsign/cap/capsign"
)

// Record is one line: what was decided about one delivery of a request. It
// names no message, no signature and no person.
type Record struct {
	V int `json:"v"`
	// Seq counts the records of a directory from 1.
	Seq uint64 `json:"seq"`
	// At is when the record was written, in UTC.
	At time.Time `json:"at"`
	// RequestID, Tenant, Pool and Key are the request's.
	RequestID string `json:"request_id"`
	Tenant    string `json:"tenant"`
	Pool      string `json:"pool"`
	Key       string `json:"key"`
	// KID is the key version that signed; empty where nothing was signed.
	KID string `json:"kid,omitzero"`
	// Items is how many messages the request holds, Delivery how often it was
	// delivered, this time included.
	Items    int `json:"items"`
	Delivery int `json:"delivery"`
	// Code is why the request was refused as a whole; empty where it was not.
	Code capsign.Code `json:"code,omitzero"`
	// RequestSHA256 and ResultSHA256 are the hex SHA-256 of the two bodies.
	RequestSHA256 string `json:"request_sha256"`
	ResultSHA256  string `json:"result_sha256"`
	// Prev is the hex SHA-256 of the line before, without its line end; 64 zeros
	// before the first.
	Prev string `json:"prev"`
}

// Log appends records to the files of one directory. It is safe for concurrent
// use; records that come together are written, and synced, together.
type Log struct {
	dir   string
	lazy  bool
	in    chan entry
	done  sync.WaitGroup
	ended chan struct{}

	// What follows belongs to the writing goroutine.
	tail tail
	file *os.File
	day  string
	err  error // sticks: a log with a gap is no log
}

// entry is a record on its way into the file.
type entry struct {
	record  Record
	written chan error
}

// Open opens the log in dir, which it creates where it is missing, and
// continues its chain. A last line that a crash cut short is removed: its
// request was never answered. lazy leaves syncing to the operating system.
func Open(dir string, lazy bool) (*Log, error) {
	last, err := recoverTail(dir)
	if err != nil {
		return nil, fmt.Errorf("audit: open: %w", err)
	}
	l := &Log{dir: dir, lazy: lazy, in: make(chan entry, 256), ended: make(chan struct{}), tail: last}
	l.done.Go(l.write)
	return l, nil
}

// Append writes a record and returns when it is on disk. V, Seq, At and Prev
// are filled in. An error wraps capsign.AuditUnavailable: the decision must then
// not be released. Every later Append fails as well, until the log is opened
// anew.
func (l *Log) Append(ctx context.Context, record Record) error {
	e := entry{record, make(chan error, 1)}
	select {
	case l.in <- e:
	case <-l.ended:
		return unavailable()
	case <-ctx.Done():
		return unavailable()
	}
	select {
	case err := <-e.written:
		return err
	case <-l.ended:
		return unavailable()
	}
}

// Close ends the log. Append must not be under way.
func (l *Log) Close() error {
	close(l.ended)
	l.done.Wait()
	if l.file == nil {
		return nil
	}
	if err := l.file.Close(); err != nil {
		return unavailable()
	}
	return nil
}

// unavailable is the one error of a log that does not take a record.
func unavailable() error { return fmt.Errorf("audit: %w", capsign.AuditUnavailable) }

// write takes records until the log ends, all that wait at a time.
func (l *Log) write() {
	for {
		select {
		case first := <-l.in:
			l.writeAll(l.waiting(first))
		case <-l.ended:
			return
		}
	}
}

// waiting returns first and whatever else has come by now.
func (l *Log) waiting(first entry) []entry {
	entries := []entry{first}
	for len(entries) < cap(l.in) {
		select {
		case e := <-l.in:
			entries = append(entries, e)
		default:
			return entries
		}
	}
	return entries
}

// writeAll writes entries as one piece and tells each how that went.
func (l *Log) writeAll(entries []entry) {
	if l.err == nil {
		l.err = l.append(entries, time.Now().UTC())
	}
	for _, e := range entries {
		if l.err != nil {
			e.written <- unavailable()
			continue
		}
		e.written <- nil
	}
}

// append adds entries to the day's file.
func (l *Log) append(entries []entry, now time.Time) error {
	if err := l.turnTo(now.Format(time.DateOnly)); err != nil {
		return err
	}
	var text []byte
	for _, e := range entries {
		line, err := l.tail.chain(e.record, now)
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	if _, err := l.file.Write(text); err != nil {
		return err
	}
	if l.lazy {
		return nil
	}
	return l.file.Sync()
}

// tail is where a chain ends.
type tail struct {
	seq  uint64
	hash string
}

// chain returns the line that record makes as the next of the chain.
func (t *tail) chain(record Record, now time.Time) ([]byte, error) {
	record.V, record.Seq, record.At, record.Prev = capsign.Version, t.seq+1, now, t.hash
	line, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	t.seq, t.hash = record.Seq, hashOf(line)
	return line, nil
}

// hashOf returns the hex SHA-256 of a line.
func hashOf(line []byte) string {
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:])
}
