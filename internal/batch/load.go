package batch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"os"
	"syscall"

	"github.com/capsign/cap/capsign"
)

// Load yields the messages of the run's artifacts from an index on, reading each
// file when its turn comes. A file that cannot be signed is an item with an
// error; the end of ctx ends them all.
func (r *Run) Load(ctx context.Context, what string) func(from int) iter.Seq[capsign.Item] {
	return func(from int) iter.Seq[capsign.Item] { return LoadAll(ctx, what, readList(r.path(listName), from)) }
}

// LoadAll yields the messages of artifacts, as Load does.
func LoadAll(ctx context.Context, what string, artifacts iter.Seq2[Artifact, error]) iter.Seq[capsign.Item] {
	return func(yield func(capsign.Item) bool) {
		l := newLoader(what)
		for artifact, err := range artifacts {
			item := capsign.Item{Ref: artifact.Path, Err: err}
			if err == nil {
				item.Message, item.Digest, item.Err = l.message(ctx, artifact)
			}
			if ctx.Err() != nil || !yield(item) {
				return
			}
		}
	}
}

// ContentsOf returns the contents of the file at path if they are of that
// SHA-256 and fit into a message, and otherwise nil.
func ContentsOf(ctx context.Context, path, sha256 string) []byte {
	contents, _, err := newLoader(Contents).message(ctx, Artifact{Path: path, SHA256: sha256})
	if err != nil || sha256 == "" {
		return nil
	}
	return contents
}

// loader reads one file after the other.
type loader struct {
	what   string
	sum    hash.Hash
	buffer []byte
}

// newLoader returns a loader of what is to be signed.
func newLoader(what string) *loader {
	return &loader{what: what, sum: sha256.New(), buffer: make([]byte, 64<<10)}
}

// message returns what is signed for an artifact, and the SHA-256 of the file.
func (l *loader) message(ctx context.Context, artifact Artifact) (msg []byte, digest string, err error) {
	// A pipe that nobody writes to must not hold up the others.
	file, err := os.OpenFile(artifact.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, "", unreadable(err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, "", unreadable(err)
	case !info.Mode().IsRegular():
		return nil, "", fmt.Errorf("batch: not a regular file: %w", capsign.BadRequest)
	}
	contents, err := l.read(ctx, file)
	if err != nil {
		return nil, "", err
	}
	digest = hex.EncodeToString(l.sum.Sum(nil))
	switch {
	case artifact.SHA256 != "" && artifact.SHA256 != digest:
		return nil, digest, fmt.Errorf("batch: not what the manifest says: %w", capsign.ArtifactChanged)
	case len(contents) > capsign.MaxMessageSize:
		return nil, digest, fmt.Errorf("batch: file: %w", capsign.TooLarge)
	case capsign.IsKeyringInput(contents):
		return nil, digest, fmt.Errorf("batch: keyrings are for roots to sign: %w", capsign.Denied)
	case l.what == Checksum:
		contents = []byte(ChecksumLine(digest, artifact.Path))
	}
	return contents, digest, nil
}

// read hashes a whole file and returns as much of its contents as is needed:
// what exceeds a message, if only by a little, or nothing.
func (l *loader) read(ctx context.Context, file io.Reader) ([]byte, error) {
	contents := []byte{}
	l.sum.Reset()
	for {
		n, err := file.Read(l.buffer)
		_, _ = l.sum.Write(l.buffer[:n]) // never fails, see hash.Hash
		if l.what == Contents && len(contents) <= capsign.MaxMessageSize {
			contents = append(contents, l.buffer[:n]...)
		}
		switch {
		case errors.Is(err, io.EOF):
			return contents, nil
		case err != nil:
			return nil, unreadable(err)
		case ctx.Err() != nil:
			return nil, unreadable(ctx.Err())
		}
	}
}

// unreadable returns the error of a file that cannot be read.
func unreadable(err error) error {
	return fmt.Errorf("batch: file cannot be read: %w (%w)", capsign.BadRequest, err)
}
