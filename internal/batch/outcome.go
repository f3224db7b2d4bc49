package batch

import (
	"bufio"
	"errors"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/capsign/cap/capsign"
)

// flushAfter is how long an outcome waits for company on its way to the file.
const flushAfter = 500 * time.Millisecond

// Outcome is one line of the outcomes: what became of one artifact.
type Outcome struct {
	// Path is as it was named; what is no UTF-8 in it reads U+FFFD.
	Path string `json:"path"`
	// SHA256 is that of the file, or empty where it could not be read.
	SHA256 string `json:"sha256,omitzero"`
	// KID, Alg and Signature are there where it is signed.
	KID       string      `json:"kid,omitzero"`
	Alg       capsign.Alg `json:"alg,omitzero"`
	Signature []byte      `json:"signature,omitzero"`
	// Code says why it is not.
	Code capsign.Code `json:"code,omitzero"`
	// RequestID names the request, where one was sent.
	RequestID string `json:"request_id,omitzero"`
	// Unverified says that the signature was not held against the artifact,
	// which was not there.
	Unverified bool `json:"unverified,omitzero"`
}

// NewOutcome returns what became of an artifact that the client has signed, or
// not, for the code that err wraps.
func NewOutcome(signed capsign.Signed, err error) Outcome {
	o := Outcome{Path: strings.ToValidUTF8(signed.Ref, "\ufffd"), SHA256: signed.Digest, RequestID: signed.RequestID}
	if err != nil {
		o.Code = capsign.CodeOf(err)
		return o
	}
	o.KID, o.Alg, o.Signature = signed.KID, signed.Alg, signed.Bytes
	return o
}

// Line returns the outcome as one line of JSON.
func (o Outcome) Line() ([]byte, error) {
	line, err := json.Marshal(o)
	if err != nil {
		return nil, capsign.Internal
	}
	return append(line, '\n'), nil
}

// Tally counts outcomes.
type Tally struct {
	Signed, Refused int
	// Codes counts the refused ones by their code.
	Codes map[capsign.Code]int
}

// Count enters one outcome.
func (t *Tally) Count(o Outcome) {
	if o.Code == "" {
		t.Signed++
		return
	}
	if t.Codes == nil {
		t.Codes = make(map[capsign.Code]int)
	}
	t.Refused++
	t.Codes[o.Code]++
}

// Done returns how many outcomes there are.
func (t *Tally) Done() int { return t.Signed + t.Refused }

// Sorted returns the codes that were counted, in the order of their names.
func (t *Tally) Sorted() []capsign.Code { return slices.Sorted(maps.Keys(t.Codes)) }

// outcomes is the file that outcomes are noted in, in the order of the artifacts.
type outcomes struct {
	file    *os.File
	to      *bufio.Writer
	flushed time.Time
}

// openOutcomes opens a run's outcomes, counts those that are noted, which must be
// those of its first artifacts, and cuts off half a line.
func openOutcomes(path string, r *Run) (*outcomes, error) {
	next, stop := iter.Pull2(readList(r.path(listName), 0))
	defer stop()
	size, err := eachLine(path, func(line []byte) error {
		var o Outcome
		artifact, err, more := next()
		if err != nil {
			return err
		}
		if !more || json.Unmarshal(line, &o, json.RejectUnknownMembers(true)) != nil ||
			o.Path != strings.ToValidUTF8(artifact.Path, "\ufffd") {
			return ErrBroken
		}
		r.Tally.Count(o)
		return nil
	})
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // signatures are for everybody to read
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(size, 0); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &outcomes{file: file, to: bufio.NewWriterSize(file, 64<<10), flushed: time.Now()}, nil
}

// Note enters the outcome of the next artifact.
func (r *Run) Note(o Outcome) error {
	line, err := o.Line()
	if err != nil {
		return err
	}
	r.Tally.Count(o)
	if _, err := r.outcomes.to.Write(line); err != nil {
		return err
	}
	if time.Since(r.outcomes.flushed) < flushAfter {
		return nil
	}
	r.outcomes.flushed = time.Now()
	return r.outcomes.to.Flush()
}

// close brings the outcomes to the disk.
func (o *outcomes) close() error {
	return errors.Join(o.to.Flush(), o.file.Sync(), o.file.Close())
}
