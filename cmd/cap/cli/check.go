package cli

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// checkAdvice says what to do about what only check means by a code.
var checkAdvice = map[capsign.Code]string{
	capsign.ResultTimeout: "the pool's worker did not answer; try again with a longer --timeout, and see its log.",
}

// checkCommand returns "cap keys check".
func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Prove that a pool's keys sign",
		Long: "check has one of the pool's workers sign a canary, a message of its own, with\n" +
			"every version of its key, and says what is wrong and how to mend it. Exit status\n" +
			"0 means that all sign and that the pool takes requests. Else it is that of the\n" +
			"worst code found: 10 before 5 before 6 before all others.",
		Example: "  cap keys check --pool default",
		Args:    noArgs,
		RunE:    a.bounded(a.checkKeys),
	}
}

// checkup is what "cap keys check --json" prints.
type checkup struct {
	Pool string `json:"pool"`
	// Fallback says that a software key signs instead of the provider's.
	Fallback bool `json:"fallback,omitzero"`
	// Checks has a finding for each key version.
	Checks []finding `json:"checks"`
}

// finding is what became of a key version's canary.
type finding struct {
	KID string `json:"kid"`
	// KeyName, Version and Class are empty where the broker does not know kid as
	// one of the pool's.
	KeyName string        `json:"key_name"`
	Version string        `json:"version"`
	Class   capsign.Class `json:"class"`
	OK      bool          `json:"ok"`
	Seconds float64       `json:"seconds"`
	// Code, Message and Hint say why it did not sign and what to do about it.
	Code    capsign.Code `json:"code,omitzero"`
	Message string       `json:"message,omitzero"`
	Hint    string       `json:"hint,omitzero"`
}

// unsound is that a pool does not sign as it should.
type unsound struct {
	checkup
	err error // the worst that was found
}

// Error returns the worst that was found.
func (u *unsound) Error() string { return u.err.Error() }

// Unwrap returns the worst that was found.
func (u *unsound) Unwrap() error { return u.err }

// checkKeys has a pool's keys checked and says what is wrong.
func (a *app) checkKeys(ctx context.Context) error {
	return a.atPool(ctx, func(nc *nats.Conn, pool capsign.Pool) error {
		ring, err := capsign.FetchKeySet(ctx, nc)
		if err != nil {
			return err
		}
		checks, err := ask(ctx, a, func(ctx context.Context) ([]capsign.KeyCheck, error) {
			return capsign.CheckKeys(ctx, nc, pool.Name)
		})
		if err != nil {
			return unchecked(err, pool)
		}
		found := a.flags.findings(pool, ring.Keys(), checks)
		return a.report(pool, checkup{Pool: pool.Name, Fallback: isFallback(pool, ring.Keys()), Checks: found})
	})
}

// unchecked explains why no worker has checked the keys. The code of a paused
// pool comes from its record: there is nobody to ask.
func unchecked(err error, pool capsign.Pool) error {
	if code := codeOf(err); code == pool.Code && resumerOf(code) != byOperator {
		return &fault{code: code, sentence: code.Sentence(), hint: mending[code] + " " + noneRunning}
	}
	return advised(err, pool.Name, checkAdvice)
}

// report prints what was found and returns the worst of it.
func (a *app) report(pool capsign.Pool, result checkup) error {
	if !a.flags.json {
		if err := a.print([]byte(result.text(pool))); err != nil {
			return err
		}
	}
	codes := []capsign.Code{pool.Code}
	for _, f := range result.Checks {
		codes = append(codes, f.Code)
	}
	if code := worst(codes); code != "" {
		return &unsound{checkup: result, err: advised(code, pool.Name, nil)}
	}
	if a.flags.json {
		return a.printJSON(result)
	}
	return nil
}

// findings puts together a worker's checks, as far as --key leaves them, and
// what is published of the keys. A kid that signs for the pool and that the
// worker has not checked is one that it does not hold.
func (f *flags) findings(pool capsign.Pool, keys []capsign.Key, checks []capsign.KeyCheck) []finding {
	found := []finding{}
	for _, name := range slices.Sorted(maps.Keys(pool.Current)) {
		kid := pool.Current[name]
		if !slices.ContainsFunc(checks, func(c capsign.KeyCheck) bool { return c.KID == kid }) {
			checks = append(checks, capsign.KeyCheck{KID: kid, Code: capsign.KIDUnknown})
		}
	}
	for _, check := range checks {
		at := slices.IndexFunc(keys, func(k capsign.Key) bool { return k.KID == check.KID && k.Pool == pool.Name })
		key := capsign.Key{KID: check.KID}
		if at >= 0 {
			key = keys[at]
		}
		if f.key == "" || f.key == key.Name {
			found = append(found, newFinding(pool.Name, key, check))
		}
	}
	slices.SortStableFunc(found, func(x, y finding) int {
		return cmp.Or(cmp.Compare(x.KeyName, y.KeyName), cmp.Compare(x.Version, y.Version), cmp.Compare(x.KID, y.KID))
	})
	return found
}

// newFinding returns what a worker's check of a key version says. Nothing in it
// can be trusted to be what a worker says.
func newFinding(pool string, key capsign.Key, check capsign.KeyCheck) finding {
	f := finding{
		KID: printable(key.KID), KeyName: key.Name, Version: printable(key.Version), Class: key.Class,
		OK: check.Code == "", Seconds: min(max(check.Seconds, 0), maxSeconds),
	}
	if !f.OK {
		f.Code = capsign.CodeOf(check.Code)
		f.Message, f.Hint = f.Code.Sentence(), forPool(mending[f.Code], pool)
	}
	return f
}

// maxSeconds is the most time that a canary may be said to have taken.
const maxSeconds = 9999

// severity is the order of exit statuses in which the worst code is sought;
// all others come after these.
var severity = []int{capsign.Integrity.ExitStatus(), capsign.PINIncorrect.ExitStatus(), capsign.TokenAbsent.ExitStatus()}

// worst returns the code that needs a person most, the first one of several, or
// "" where all are empty.
func worst(codes []capsign.Code) capsign.Code {
	rank := func(code capsign.Code) int {
		if i := slices.Index(severity, code.ExitStatus()); i >= 0 {
			return i
		}
		return len(severity)
	}
	var found capsign.Code
	for _, code := range codes {
		if code != "" && (found == "" || rank(code) < rank(found)) {
			found = code
		}
	}
	return found
}
