package batch

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"os"
	"strings"
)

// maxPath is longer than any path.
const maxPath = 64 << 10

// Artifact is one file of a run.
type Artifact struct {
	// Path is as it was named, not cleaned.
	Path string
	// SHA256 is the digest that a manifest says it has, in hex, or "".
	SHA256 string
}

// Source names the artifacts of a run.
type Source interface {
	// Artifacts yields them in an order that does not change. An error ends them.
	Artifacts() iter.Seq2[Artifact, error]
	// Again reports whether the source is to be asked again when a run is taken
	// up, and compared with what it said first. A tree of files may have grown
	// since, and what was typed into a terminal is gone.
	Again() bool
}

// writeList writes a source's artifacts in the form that the list has on disk:
// digest, space, path, NUL. It returns their number and the list's SHA-256.
func writeList(to io.Writer, source Source) (items int, sum string, err error) {
	hash := sha256.New()
	buffered := bufio.NewWriterSize(io.MultiWriter(to, hash), 64<<10)
	for artifact, err := range source.Artifacts() {
		if err != nil {
			return 0, "", err
		}
		if strings.Contains(artifact.Path, "\x00") || len(artifact.Path) > maxPath {
			return 0, "", ErrBroken
		}
		for _, part := range []string{artifact.SHA256, " ", artifact.Path, "\x00"} {
			_, _ = buffered.WriteString(part) // Flush says what went wrong
		}
		items++
	}
	if err := buffered.Flush(); err != nil {
		return 0, "", err
	}
	return items, hex.EncodeToString(hash.Sum(nil)), nil
}

// readList yields the artifacts of a list from an index on.
func readList(path string, from int) iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		file, err := os.Open(path)
		if err != nil {
			yield(Artifact{}, err)
			return
		}
		defer file.Close() //nolint:errcheck // nothing was written
		records := bufio.NewScanner(file)
		records.Buffer(nil, 2*maxPath)
		records.Split(splitNUL)
		for i := 0; records.Scan(); i++ {
			if i < from {
				continue
			}
			sum, path, found := strings.Cut(records.Text(), " ")
			if !found {
				yield(Artifact{}, ErrBroken)
				return
			}
			if !yield(Artifact{Path: path, SHA256: sum}, nil) {
				return
			}
		}
		if err := records.Err(); err != nil {
			yield(Artifact{}, err)
		}
	}
}

// splitNUL splits at NULs, and takes what stands behind the last one too.
func splitNUL(data []byte, atEOF bool) (advance int, token []byte, err error) {
	if end := bytes.IndexByte(data, 0); end >= 0 {
		return end + 1, data[:end], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// Collection is a list that no run owns.
type Collection struct {
	// Items is how many artifacts it has.
	Items int

	path string
}

// Collect asks a source for all of its artifacts. Close gives up what it takes.
func Collect(source Source) (*Collection, error) {
	file, err := os.CreateTemp("", "cap-list-")
	if err != nil {
		return nil, err
	}
	c := &Collection{path: file.Name()}
	c.Items, _, err = writeList(file, source)
	err = errors.Join(err, file.Close())
	if err == nil && c.Items == 0 {
		err = ErrEmpty
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Artifacts yields the artifacts of the collection.
func (c *Collection) Artifacts() iter.Seq2[Artifact, error] { return readList(c.path, 0) }

// Close removes the collection.
func (c *Collection) Close() { _ = os.Remove(c.path) }
