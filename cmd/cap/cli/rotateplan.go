package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/capsign/cap/internal/rotation"
)

// changed is what a command that changes the keyring prints with --json.
type changed struct {
	// Version is the new keyring's.
	Version uint64 `json:"version"`
	// Hash names the signed keyring; empty in a dry run.
	Hash string `json:"hash,omitzero"`
	// Published says whether it is in force.
	Published bool `json:"published"`
	DryRun    bool `json:"dry_run,omitzero"`
	// Followed says whether workers sign with the key that is active now; nil
	// where that did not change.
	Followed *bool `json:"followed,omitzero"`
	// Missing is how many further roots must sign before it can be published.
	Missing int `json:"missing_signatures,omitzero"`
	// File is where the signed keyring was written.
	File string        `json:"file,omitzero"`
	Plan rotation.Plan `json:"plan"`
}

// printChange prints what was changed or would be.
func (a *app) printChange(c changed, now time.Time) error {
	if a.flags.json {
		return a.printJSON(c)
	}
	return a.print([]byte(c.text(now)))
}

// text lays a change out for a terminal of 80 columns.
func (c changed) text(now time.Time) string {
	var page strings.Builder
	writePlan(&page, c.Plan, now)
	switch {
	case c.DryRun:
		line(&page, "dry run", "nothing was changed")
	case c.Published:
		line(&page, "published", fmt.Sprintf("keyring version %d", c.Version))
		c.writeFollowed(&page)
	default:
		line(&page, "written", c.File)
		line(&page, "signatures", c.lacks())
	}
	return page.String()
}

// writeFollowed says whether the workers follow.
func (c changed) writeFollowed(page *strings.Builder) {
	switch {
	case c.Followed == nil:
	case *c.Followed:
		line(page, "followed", "the workers sign with the key that is active now")
	default:
		line(page, "NOT FOLLOWED", "no worker has said yet that it signs with the key that is active now: see 'cap pool status'")
	}
}

// lacks says what a signed keyring still needs.
func (c changed) lacks() string {
	if c.Missing == 0 {
		return "enough; 'cap rotate publish " + shellWord(c.File) + "' puts it in force"
	}
	return fmt.Sprintf("%d more needed: 'cap rotate sign %s --root FILE'", c.Missing, shellWord(c.File))
}

// writePlan writes what a change means, and for whom.
func writePlan(page *strings.Builder, p rotation.Plan, now time.Time) {
	line(page, "keyring", fmt.Sprintf("version %d (%s)", p.Version, p.Action))
	if p.Reason != "" {
		line(page, "reason", p.Reason)
	}
	for _, key := range p.Keys {
		line(page, "key", key.Key+" of pool "+key.Pool)
		line(page, "stage", stageMove(key.Stage))
		if !key.T1.After.IsZero() {
			line(page, "t1", stamp(key.T1.After)+" ("+until(key.T1.After.Sub(now))+")")
		}
	}
	for _, effect := range p.Effects {
		whom, text := effect.Whom, effect.Text
		if pool, ok := strings.CutPrefix(whom, "workers of "); ok {
			whom, text = "workers", "of "+pool+" "+text
		}
		line(page, whom, text)
	}
}

// stageMove says how a key's stage changes.
func stageMove(s rotation.Moved[int]) string {
	if s.Before == 0 || s.Before == s.After {
		return stageText(s.After)
	}
	return fmt.Sprintf("%d -> %s", s.Before, stageText(s.After))
}

// stageText says what a stage means.
func stageText(stage int) string {
	switch stage {
	case 1:
		return "1 (one key signs and verifies)"
	case 2:
		return "2 (the new key signs, both verify)"
	}
	return "3 (the new key alone)"
}

// stamp returns an instant for a person, to the second unless it is not whole.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// until says how long it is to an instant, in two units at most.
func until(left time.Duration) string {
	switch {
	case left <= 0:
		return ago(-left)
	case left < time.Minute:
		return fmt.Sprintf("in %d s", (left+time.Second-1)/time.Second)
	case left < time.Hour:
		return fmt.Sprintf("in %d min", left/time.Minute)
	case left < 48*time.Hour:
		return fmt.Sprintf("in %d h %d min", left/time.Hour, left%time.Hour/time.Minute)
	}
	return strings.TrimSuffix(fmt.Sprintf("in %d days %d h", left/day, left%day/time.Hour), " 0 h")
}
