package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// maxSize and maxDepth bound a file; what it takes to say everything is far
// below both.
const (
	maxSize  = 1 << 20
	maxDepth = 16
)

// Load reads and checks the configuration file at path. What the file does not
// say is as in [Default]; a PKCS#11 URI is resolved. An error is an [*Error] with every fault found; it
// names neither path nor values.
func Load(path string) (Config, error) {
	data, err := read(path)
	if err != nil {
		return Config{}, err
	}
	return Parse(data)
}

// Parse is [Load] for a file's content.
func Parse(data []byte) (Config, error) {
	cfg := Default()
	err := strictly(data, &cfg, func(d *decoder) []Fault {
		if d.given("key") && !d.given("key.provider") {
			cfg.Key.Provider = "" // a forgotten provider must not mean another key
		}
		return cfg.faults()
	})
	if err != nil {
		return Config{}, err
	}
	if cfg.Key.PKCS11, err = cfg.Key.PKCS11.Resolve(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// LoadInto reads another YAML file of cap's, as strictly as a worker's own: the
// struct that into points to holds the defaults, and each of its fields has a
// yaml tag. check returns what is wrong with the values, by their dotted keys.
// An error is an [*Error]; what into holds is then of no use.
func LoadInto(path string, into any, check func() []Fault) error {
	data, err := read(path)
	if err != nil {
		return err
	}
	return ParseInto(data, into, check)
}

// ParseInto is [LoadInto] for a file's content.
func ParseInto(data []byte, into any, check func() []Fault) error {
	return strictly(data, into, func(*decoder) []Fault { return check() })
}

// strictly fills into from YAML and returns all that is wrong with it, what check
// says of the values included.
func strictly(data []byte, into any, check func(*decoder) []Fault) error {
	root, faults := parseYAML(data)
	if root == nil {
		return asError(faults)
	}
	d := decoder{faults: faults}
	d.decode(root, into)
	return asError(d.with(check(&d)))
}

// read returns the content of a regular file. It neither waits for a FIFO's
// writer nor reads a device.
func read(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, refuse(openProblem(err))
	}
	defer file.Close() //nolint:errcheck // it was only read
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, refuse("the file cannot be read")
	case info.IsDir():
		return nil, refuse("a directory is not a configuration file")
	case !info.Mode().IsRegular():
		return nil, refuse("not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return nil, refuse("the file cannot be read")
	}
	return data, nil
}

// openProblem says why a file did not open, without its path.
func openProblem(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the file does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "no permission to read the file"
	}
	return "the file cannot be opened"
}

// parseYAML returns the root of the one document in data, or nil where there is
// none to go on with, and the faults so far.
func parseYAML(data []byte) (*yaml.Node, []Fault) {
	if len(data) > maxSize {
		return nil, []Fault{{Problem: fmt.Sprintf("the file is larger than %d bytes", maxSize)}}
	}
	if fault, ok := notText(data); ok {
		return nil, []Fault{fault}
	}
	limits := loaderlimits.New(loaderlimits.DepthValue(maxDepth))
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(limits))
	if err != nil {
		return nil, []Fault{{Problem: "the file cannot be read as YAML"}}
	}
	var document, extra yaml.Node
	switch err := loader.Load(&document); {
	case errors.Is(err, io.EOF), err == nil && document.Content[0].Tag == "!!null":
		return nil, []Fault{{Problem: "the file says nothing; leave it out to run with the defaults"}}
	case err != nil:
		return nil, []Fault{syntaxFault(err, data)}
	}
	root := document.Content[0]
	switch err := loader.Load(&extra); {
	case err == nil:
		return root, []Fault{{extra.Line, extra.Column, "", "a second document starts here; only one is read"}}
	case !errors.Is(err, io.EOF):
		return root, []Fault{syntaxFault(err, data)}
	}
	return root, nil
}
