// Command setup makes what docker-compose.yml takes from deploy/secrets: who may
// use the broker, and the passwords of the parts that have one. Nothing has a
// default password, and no two installations share one.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"
)

func main() {
	dir := flag.String("dir", "deploy/secrets", "make the files in `DIR`")
	url := flag.String("url", "nats://127.0.0.1:4222,nats://127.0.0.1:4223,nats://127.0.0.1:4224", "where the contexts for this machine find the broker")
	flag.Parse()
	if err := run(*dir, *url, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "setup: %v\n", err)
		os.Exit(1)
	}
}

// run makes the files in a directory of their own, which must not be there yet:
// what exists may be in use.
func run(dir, url string, stdout io.Writer) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintf(stdout, "%s is there already; nothing was made\n", dir)
		return nil
	}
	made, err := secrets(dir, url)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, content := range made {
		// Containers read them as users of their own; the directory keeps
		// everybody else on this machine out.
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o444); err != nil { //nolint:gosec // see above
			return err
		}
	}
	fmt.Fprintf(stdout, "%d files made in %s\n", len(made), dir)
	return nil
}

// secrets returns the contents of all files by name.
func secrets(dir, url string) (map[string]string, error) {
	password := rand.Text()
	made := map[string]string{
		"routes.conf": fmt.Sprintf("authorization { user: cap, password: %q }\n"+
			"routes: [ \"nats://cap:%[1]s@nats-1:6222\", \"nats://cap:%[1]s@nats-2:6222\", \"nats://cap:%[1]s@nats-3:6222\" ]\n", password),
		"pin":              rand.Text(),
		"so-pin":           rand.Text(),
		"grafana-password": rand.Text(),
	}
	for _, role := range []string{"worker", "publisher", "operator"} { // nats.conf's users
		public, seed, err := newUser()
		if err != nil {
			return nil, fmt.Errorf("make the %s's key: %w", role, err)
		}
		made[role+".nk"] = seed
		made["users.conf"] += fmt.Sprintf("%s_NKEY: %q\n", strings.ToUpper(role), public)
		if made[role+".json"], err = context(dir, url, role); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// newUser returns a fresh nkey pair.
func newUser() (public, seed string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", "", err
	}
	defer pair.Wipe()
	if public, err = pair.PublicKey(); err != nil {
		return "", "", err
	}
	text, err := pair.Seed()
	return public, string(text), err
}

// context returns a context of the nats command's, for cap on this machine.
func context(dir, url, role string) (string, error) {
	seed, err := filepath.Abs(filepath.Join(dir, role+".nk"))
	if err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(map[string]string{
		"description": "cap's cluster, as " + role, "url": url, "nkey": seed, "inbox_prefix": "_INBOX." + role,
	}, "", "  ")
	return string(text) + "\n", err
}
