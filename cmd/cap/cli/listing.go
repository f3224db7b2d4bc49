package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/capsign/cap/capsign"
)

// listing prints many things one after the other, however many there are: lines,
// or with --json one object whose member holds them.
type listing struct {
	a     *app
	name  string // of the member
	n     int
	begun bool
}

// newListing returns a listing whose things are name.
func (a *app) newListing(name string) *listing { return &listing{a: a, name: name} }

// letter prints a dead letter.
func (l *listing) letter(s letterSummary) error {
	var page strings.Builder
	s.write(&page)
	return l.item(s, page.String())
}

// item prints one more thing: v with --json, text without.
func (l *listing) item(v any, text string) error {
	l.n++
	if !l.a.flags.json {
		return l.a.print([]byte(text))
	}
	data, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return capsign.Internal
	}
	if err := l.begin(); err != nil {
		return err
	}
	if l.n > 1 {
		data = append([]byte{','}, data...)
	}
	return l.a.print(data)
}

// begin opens the object.
func (l *listing) begin() error {
	if l.begun {
		return nil
	}
	l.begun = true
	return l.a.printf(`{%q:[`, l.name)
}

// end prints what ends a listing. A person is told that there was nothing.
func (l *listing) end() error {
	if l.n == 0 && !l.a.flags.json {
		fmt.Fprintln(l.a.stderr, "no "+l.name)
	}
	return l.close(struct{}{})
}

// close ends the object with the members of rest.
func (l *listing) close(rest any) error {
	if !l.a.flags.json {
		return nil
	}
	if err := l.begin(); err != nil {
		return err
	}
	data, err := json.Marshal(rest, json.Deterministic(true))
	if err != nil {
		return capsign.Internal
	}
	members := strings.TrimPrefix(string(data), "{")
	if members != "}" {
		members = "," + members
	}
	return l.a.print([]byte("]" + members + "\n"))
}

// fail ends the listing with what went wrong and returns err. With --json, that
// is in the one object that stdout gets.
func (l *listing) fail(err error) error {
	return l.failWith(err, l.a.problem(nil, l.a.deny.explain(coded(err))))
}

// failWith ends the listing with rest and returns err.
func (l *listing) failWith(err error, rest any) error {
	if !l.a.flags.json {
		return err
	}
	if failure := l.close(rest); failure != nil {
		return failure
	}
	l.a.stdout = io.Discard
	return err
}
