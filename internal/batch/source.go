package batch

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/capsign/cap/capsign"
)

// SourceError says where a source stopped naming artifacts.
type SourceError struct {
	// Path is the file or directory that cannot be read; "" means the source
	// itself.
	Path string
	// Line is the line that makes no sense, or 0.
	Line int
	// Err is what the operating system says, or nil.
	Err error
}

// Error says that much of it as gives nothing away.
func (e *SourceError) Error() string { return "batch: source cannot be read" }

// Unwrap returns capsign.BadRequest and the operating system's error.
func (e *SourceError) Unwrap() []error { return []error{capsign.BadRequest, e.Err} }

// Tree is files and directories. Directories are walked in the order of their
// names; their regular files are artifacts, and no link in them is followed.
type Tree struct {
	Paths []string
	// Except is a file, and the directory beside it, that are no artifacts.
	Except string
}

// Again reports false: a tree may have grown.
func (t Tree) Again() bool { return false }

// Artifacts walks the tree.
func (t Tree) Artifacts() iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		own := []string{absolute(t.Except), absolute(t.Except + suffix)}
		for _, root := range t.Paths {
			err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
				switch {
				case err != nil:
					return &SourceError{Path: path, Err: err}
				case slices.Contains(own, absolute(path)) && entry.IsDir():
					return fs.SkipDir
				case slices.Contains(own, absolute(path)), entry.IsDir(), !entry.Type().IsRegular() && path != root:
					return nil
				}
				if !yield(Artifact{Path: path}, nil) {
					return fs.SkipAll
				}
				return nil
			})
			if err != nil {
				yield(Artifact{}, err)
				return
			}
		}
	}
}

// absolute returns a path as it can be compared.
func absolute(path string) string {
	whole, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	return whole
}

// Lines is paths, each on a line or, where Null is set, followed by a NUL.
type Lines struct {
	From io.Reader
	Null bool
	// Typed says that a person types them, which they do once.
	Typed bool
}

// Again reports whether the lines can be had again.
func (l Lines) Again() bool { return !l.Typed }

// Artifacts reads the lines. Empty ones name nothing.
func (l Lines) Artifacts() iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		lines := bufio.NewScanner(l.From)
		lines.Buffer(nil, maxPath)
		if l.Null {
			lines.Split(splitNUL)
		}
		n := 0
		for lines.Scan() {
			n++
			if path := lines.Text(); path != "" && !yield(Artifact{Path: path}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Artifact{}, &SourceError{Line: n + 1, Err: err})
		}
	}
}

// Manifest is a file that sha256sum has written.
type Manifest string

// Again reports true.
func (m Manifest) Again() bool { return true }

// Artifacts reads the manifest.
func (m Manifest) Artifacts() iter.Seq2[Artifact, error] {
	return func(yield func(Artifact, error) bool) {
		file, err := os.Open(string(m))
		if err != nil {
			yield(Artifact{}, &SourceError{Path: string(m), Err: err})
			return
		}
		defer file.Close() //nolint:errcheck // nothing was written
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 2*maxPath)
		n := 0
		for lines.Scan() {
			n++
			if lines.Text() == "" {
				continue
			}
			artifact, err := ParseChecksum(lines.Text())
			if err != nil {
				yield(Artifact{}, &SourceError{Path: string(m), Line: n})
				return
			}
			if !yield(artifact, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Artifact{}, &SourceError{Path: string(m), Line: n + 1, Err: err})
		}
	}
}

// errChecksum is what a line that is no checksum wraps.
var errChecksum = fmt.Errorf("batch: checksum line: %w", capsign.BadRequest)
