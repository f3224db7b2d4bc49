package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// begun is what "cap keyring init --json" prints.
type begun struct {
	changed
	Roots     []string `json:"roots"`
	Threshold int      `json:"threshold"`
	// State is the file that this user's trust is kept in.
	State string `json:"state,omitzero"`
	// Made lists the root key files that were made or, in a dry run, would be.
	Made []string `json:"made"`
}

// printBeginning prints what was begun, and what is to be done with it.
func (a *app) printBeginning(b begun, now time.Time) error {
	if a.flags.json {
		return a.printJSON(b)
	}
	var page strings.Builder
	for _, path := range b.Made {
		line(&page, "made", path+": keep it and its passphrase apart, and a copy of both")
	}
	for _, root := range b.Roots {
		line(&page, "root", root)
	}
	page.WriteString(b.changed.text(now))
	if b.Published {
		threshold := ""
		if b.Threshold > 1 {
			threshold = fmt.Sprintf(" \\\n    --threshold %d", b.Threshold)
		}
		fmt.Fprintf(&page, "\nWorkers follow this root with, in their configuration:\n\n  keyring:\n    threshold: %d\n    roots:\n", b.Threshold)
		for _, root := range b.Roots {
			fmt.Fprintf(&page, "      - %s\n", root)
		}
		fmt.Fprintf(&page, "\nWho verifies pins it, once they have the fingerprint from you:\n\n  cap keyring trust \\\n    %s\n",
			strings.Join(b.Roots, " \\\n    ")+threshold)
	}
	return a.print([]byte(page.String()))
}

// showBeginning prints what init would do. The roots are left closed: no
// passphrase is asked for to look.
func (a *app) showBeginning(f *beginning, keys []capsign.KeyRotation, c *change) error {
	next := capsign.Keyring{Version: 1, Action: capsign.ActionInit, Reason: c.Reason, Keys: keys, Expires: c.Now.Add(c.Expires)}
	plan := rotation.Describe(nil, &next, c.Now)
	plan.Reason = f.reason
	plan.Effects = slices.DeleteFunc(plan.Effects, func(e rotation.Effect) bool { return e.Kind == rotation.EffectRoots })
	result := begun{
		changed: changed{Version: 1, DryRun: true, Plan: plan}, Roots: []string{}, Threshold: f.threshold, Made: f.absent(),
	}
	if a.flags.json {
		return a.printJSON(result)
	}
	var page strings.Builder
	for _, path := range result.Made {
		line(&page, "to be made", path)
	}
	page.WriteString(result.changed.text(c.Now))
	return a.print([]byte(page.String()))
}
