package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"golang.org/x/term"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

const (
	// passphraseEnv is the variable that holds the passphrase of root key files.
	passphraseEnv = "CAP_ROOT_PASSPHRASE" //nolint:gosec // a name, no passphrase
	// maxPassphrase is the most that cap reads of a passphrase file.
	maxPassphrase = 4 << 10
	// poolPrefix begins a --root that is a pool's key.
	poolPrefix = "pool:"
)

// rootSpec is one --root: a file with the passphrase that opens it, or a pool.
type rootSpec struct {
	text       string // as it was typed
	passphrase []byte
}

// isPool reports whether the root is a pool's key.
func (r rootSpec) isPool() bool { return strings.HasPrefix(r.text, poolPrefix) }

// pool returns the pool, and the name of its key or "".
func (r rootSpec) pool() (pool, key string) {
	pool, key, _ = strings.Cut(strings.TrimPrefix(r.text, poolPrefix), "/")
	return pool, key
}

// exists reports whether the root is there; a pool always is.
func (r rootSpec) exists() bool {
	_, err := os.Lstat(r.text)
	return r.isPool() || !errors.Is(err, fs.ErrNotExist)
}

// unlock asks for the passphrases of root key files: from files, the
// environment or, once each and twice where the file is to be made, the person
// at the terminal.
func (a *app) unlock(ctx context.Context, roots, files []string, mayMake bool) ([]rootSpec, error) {
	specs := make([]rootSpec, len(roots))
	next := 0 // of files
	for i, text := range roots {
		specs[i].text = text
		switch {
		case specs[i].isPool():
			continue
		case !specs[i].exists() && !mayMake:
			return nil, rootFault(text, &rotation.RootError{Fault: rotation.RootMissing})
		}
		var err error
		switch {
		case len(files) > 0:
			specs[i].passphrase, err = a.passphraseFrom(ctx, files[min(next, len(files)-1)])
			next++
		case os.Getenv(passphraseEnv) != "":
			specs[i].passphrase = []byte(os.Getenv(passphraseEnv))
		default:
			specs[i].passphrase, err = a.promptFor(ctx, specs[i])
		}
		if err != nil {
			return nil, err
		}
	}
	if len(files) > 1 && next != len(files) {
		return nil, misuse("Give --passphrase-file once, or once for each --root that is a file.")
	}
	return specs, nil
}

// passphraseFrom returns the one line of a file.
func (a *app) passphraseFrom(ctx context.Context, path string) ([]byte, error) {
	in := input{flag: "--passphrase-file", path: path}
	data, err := a.read(ctx, in, maxPassphrase)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(data) == 0 || bytes.ContainsAny(data, "\r\n") {
		return nil, misuse("--passphrase-file is to hold one line, the passphrase.")
	}
	return data, nil
}

// promptFor asks the person for the passphrase of a root key file.
func (a *app) promptFor(ctx context.Context, spec rootSpec) ([]byte, error) {
	if !isTerminal(a.stdin) {
		return nil, &fault{
			code: capsign.RootRefused, sentence: "There is no passphrase for the root key.",
			hint: "set " + passphraseEnv + ", give --passphrase-file FILE, or run it at a terminal.",
		}
	}
	name := printable(spec.text)
	if spec.exists() {
		return a.prompt(ctx, "passphrase of "+name+": ")
	}
	first, err := a.prompt(ctx, "new passphrase for "+name+": ")
	if err != nil {
		return nil, err
	}
	again, err := a.prompt(ctx, "the same again: ")
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(first, again):
		return nil, &fault{code: capsign.RootRefused, sentence: "The two passphrases differ."}
	}
	return first, nil
}

// prompt reads a line from the terminal without showing it. An interrupt leaves
// the terminal as it was.
func (a *app) prompt(ctx context.Context, question string) ([]byte, error) {
	fd := int(a.stdin.(*os.File).Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return nil, misuse("The terminal cannot be used: %s.", reason(err))
	}
	fmt.Fprint(a.stderr, question)
	line, err := await(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	fmt.Fprintln(a.stderr)
	if err != nil {
		_ = term.Restore(fd, before) // what was asked for is over, whatever it says
		return nil, misuse("No passphrase was read.")
	}
	if len(line) == 0 {
		return nil, &fault{code: capsign.RootRefused, sentence: "The passphrase is empty."}
	}
	return line, nil
}

// rootSentences says what is wrong with a root key file.
var rootSentences = map[rotation.RootFault]string{
	rotation.RootPassphrase:  "The passphrase does not open the root key %q.",
	rotation.RootMissing:     "There is no root key %q.",
	rotation.RootUnreadable:  "The root key %q cannot be read.",
	rotation.RootUnsafe:      "Others may read the root key %q.",
	rotation.RootUnencrypted: "The root key %q is not protected by a passphrase.",
	rotation.RootNoKey:       "%q is not a root key that cap made.",
	rotation.RootTaken:       "There is a file %q already.",
	rotation.RootUnwritable:  "The root key %q cannot be written.",
}

// rootHints says what to do about it.
var rootHints = map[rotation.RootFault]string{
	rotation.RootMissing:     "'cap keyring init' makes one, for a first keyring.",
	rotation.RootUnsafe:      "'chmod 600' makes it yours alone; if others may have read it, replace it: 'cap keyring roots'.",
	rotation.RootUnencrypted: "use one that 'cap keyring init' made.",
}

// rootFault explains why a root key file cannot be used.
func rootFault(path string, err error) error {
	refused, ok := errors.AsType[*rotation.RootError](err)
	if !ok {
		return err
	}
	return &fault{
		code: capsign.RootRefused, sentence: fmt.Sprintf(rootSentences[refused.Fault], path), hint: rootHints[refused.Fault],
	}
}

// openRoots opens the roots, and makes the files that there are none of where
// that is wanted.
func (a *app) openRoots(ctx context.Context, nc *nats.Conn, specs []rootSpec, mayMake bool) ([]rotation.RootSigner, error) {
	var signers []rotation.RootSigner
	for _, spec := range specs {
		signer, err := a.openRoot(ctx, nc, spec, mayMake)
		if err != nil {
			return nil, err
		}
		for _, other := range signers {
			if other.Public().Fingerprint() == signer.Public().Fingerprint() {
				return nil, misuse("Two of the roots are the same key.")
			}
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

// openRoot opens or makes one root.
func (a *app) openRoot(ctx context.Context, nc *nats.Conn, spec rootSpec, mayMake bool) (rotation.RootSigner, error) {
	if spec.isPool() {
		return a.poolRoot(ctx, nc, spec)
	}
	signer, err := await(ctx, func() (rotation.RootSigner, error) {
		if mayMake && !spec.exists() {
			return rotation.CreateRootFile(spec.text, spec.passphrase, 0)
		}
		return rotation.OpenRootFile(spec.text, spec.passphrase)
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, &fault{
			code: capsign.BadRequest, sentence: fmt.Sprintf("The root key %q could not be opened within %s.", spec.text, a.flags.timeout),
			hint: "opening it takes a second on purpose; give --timeout longer.",
		}
	}
	return signer, rootFault(spec.text, err)
}
