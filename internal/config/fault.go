package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/capsign/cap/capsign"
)

// maxFaults bounds how many faults an error's text lists.
const maxFaults = 25

// Fault is one thing that is wrong with a configuration. It never holds a value
// from the file.
type Fault struct {
	// Line and Column are where in the file, from 1; both are 0 where the fault
	// is not in one place.
	Line, Column int
	// Key is the dotted key, such as "key.pkcs11.slot"; empty for the file.
	Key string
	// Problem says what is wrong and what would be right.
	Problem string
}

// String returns the fault as one line of text.
func (f Fault) String() string {
	var b strings.Builder
	if f.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", f.Line, f.Column)
	}
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	return b.String() + f.Problem
}

// Error is all that is wrong with a configuration. It wraps
// capsign.ConfigInvalid.
type Error struct {
	// Faults are in the order of the file. There is at least one.
	Faults []Fault
}

// Error returns one line for one fault, and one line each for several.
func (e *Error) Error() string {
	if len(e.Faults) == 1 {
		return fmt.Sprintf("config: %v: %v", e.Faults[0], capsign.ConfigInvalid)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "config: %d faults: %v", len(e.Faults), capsign.ConfigInvalid)
	for _, fault := range e.Faults[:min(len(e.Faults), maxFaults)] {
		b.WriteString("\n  " + fault.String())
	}
	if more := len(e.Faults) - maxFaults; more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", more)
	}
	return b.String()
}

// Unwrap returns capsign.ConfigInvalid.
func (e *Error) Unwrap() error { return capsign.ConfigInvalid }

// asError returns faults as an error in the order of the file, or nil where
// there are none.
func asError(faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{faults}
}

// refuse returns the error of a file that has only one fault, in no one place.
func refuse(problem string) error { return asError([]Fault{{Problem: problem}}) }
