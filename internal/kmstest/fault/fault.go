// Package fault is what the in-process cloud servers of the tests break with:
// scripted faults, connections that go silent, and certificates.
//
// Nothing in it knows a vendor. A server asks its [Injector] once per call and
// says in its vendor's own words what it is told.
package fault

import (
	"slices"
	"sync"
	"time"
)

// Kind is the way in which a call breaks.
type Kind string

// The ways in which a call breaks. A server for which one makes no sense
// answers as if there were no fault.
const (
	// None is the zero value: the call is answered.
	None Kind = ""
	// Error answers with the vendor's error for Fault.Code.
	Error Kind = "error"
	// Delay answers after Fault.Delay, as it should.
	Delay Kind = "delay"
	// Hang does not answer until the client leaves.
	Hang Kind = "hang"
	// CorruptSignature flips a bit of the signature and leaves its checksum,
	// where there is one, as it was before.
	CorruptSignature Kind = "corrupt signature"
	// CorruptChecksum answers with a checksum that is off by one bit.
	CorruptChecksum Kind = "corrupt checksum"
	// CorruptKeyID answers in the name of another key version.
	CorruptKeyID Kind = "corrupt key id"
	// WrongKey signs with a key that nobody asked for; all else is consistent.
	WrongKey Kind = "wrong key"
	// DropConnection closes the connection in the middle of the answer.
	DropConnection Kind = "drop connection"
)

// Code says which of its errors a vendor answers with, in the words that the
// vendors' errors have in common. None of them is a code of capsign's: those
// are what the provider under test makes of it.
type Code string

// The errors that vendors share.
const (
	NotFound         Code = "not found"
	Disabled         Code = "disabled"
	PermissionDenied Code = "permission denied"
	Unauthenticated  Code = "unauthenticated" // missing, wrong or expired credentials
	Throttled        Code = "throttled"
	Unavailable      Code = "unavailable"
	Internal         Code = "internal"
	InvalidArgument  Code = "invalid argument"
	Unimplemented    Code = "unimplemented"
	DeadlineExceeded Code = "deadline exceeded" // of the vendor's own, not the client's
)

// Fault is one scripted fault. Its zero value breaks nothing.
type Fault struct {
	// Kind is what happens.
	Kind Kind
	// Code is the error of the kind Error.
	Code Code
	// Delay is how long the kind Delay takes.
	Delay time.Duration
	// RetryAfter goes with the error Throttled, as the vendor says it; zero
	// means that the vendor does not say.
	RetryAfter time.Duration
	// Times is how many calls break; zero is all of them until Clear.
	Times int
	// Method is the vendor's name of the operation that breaks; empty is every
	// operation.
	Method string
}

// Injector hands out faults and counts calls. Its zero value has no faults. It
// is safe for concurrent use.
type Injector struct {
	mu     sync.Mutex
	faults []Fault
	calls  map[string]int
}

// Set replaces the script: each call breaks with the first fault that is meant
// for its method and not used up.
func (i *Injector) Set(faults ...Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.faults = slices.Clone(faults)
}

// Clear ends all faults. The count of calls goes on.
func (i *Injector) Clear() { i.Set() }

// Take counts a call of the method and returns the fault it breaks with, if any.
// Servers call it once per request.
func (i *Injector) Take(method string) (Fault, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.calls == nil {
		i.calls = make(map[string]int)
	}
	i.calls[method]++
	for n, fault := range i.faults {
		if fault.Method != "" && fault.Method != method {
			continue
		}
		if fault.Times == 1 {
			i.faults = slices.Delete(i.faults, n, n+1)
		} else if fault.Times > 1 {
			i.faults[n].Times--
		}
		return fault, fault.Kind != None
	}
	return Fault{}, false
}

// Calls returns how many calls of the method were made; empty is all methods.
func (i *Injector) Calls(method string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if method != "" {
		return i.calls[method]
	}
	total := 0
	for _, n := range i.calls {
		total += n
	}
	return total
}
