package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
	"github.com/capsign/cap/internal/rotation"
)

// logCommand returns "cap rotate log".
func (a *app) logCommand() *cobra.Command {
	keyring := input{flag: "--keyring"}
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show and verify the history",
		Long: "log shows every change of the keyring with its reason and who signed it, oldest\n" +
			"first, once each step has been verified. Where versions are gone, it shows what\n" +
			"is left and exits with 4.",
		Example: "  cap rotate log",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.log(ctx, keyring) }),
	}
	cmd.Flags().StringVar(&keyring.path, "keyring", "", "look into `FILE`, an exported keyring, and use no network")
	return cmd
}

// entry is one change in the history.
type entry struct {
	rotation.Entry
	// Changes says what it meant when it was made, and for whom.
	Changes []rotation.Effect `json:"changes"`
}

// history is what "cap rotate log --json" prints.
type history struct {
	// Pinned says whether a pinned root vouches for it.
	Pinned bool `json:"pinned"`
	// Complete says whether it begins with version 1.
	Complete bool    `json:"complete"`
	Entries  []entry `json:"entries"`
}

// log shows the history.
func (a *app) log(ctx context.Context, keyring input) error {
	s, err := a.sight(ctx, keyring)
	if err != nil {
		return err
	}
	entries, err := rotation.Log(s.history)
	if err != nil {
		return err
	}
	h := history{Pinned: s.pinned, Complete: entries[0].Version == 1, Entries: make([]entry, len(entries))}
	for i, e := range entries {
		var before *capsign.Keyring
		if i > 0 {
			before = s.history[i-1].Keyring()
		}
		after := s.history[i].Keyring()
		h.Entries[i] = entry{e, rotation.Describe(before, after, after.Issued).Effects}
	}
	if a.flags.json && h.Complete {
		return a.printJSON(h)
	}
	if !a.flags.json {
		if err := a.print([]byte(h.text())); err != nil {
			return err
		}
	}
	return h.fault()
}

// fault says that the history's beginning is gone.
func (h history) fault() error {
	if h.Complete {
		return nil
	}
	return &fault{
		code: capsign.KeyringMissing,
		sentence: fmt.Sprintf("The history before version %d is gone from the broker, or was replaced there.",
			h.Entries[0].Version),
		hint: "an export has it: 'cap rotate log --keyring FILE'. What is in force is not touched by that.",
	}
}

// text lays the history out for a terminal of 80 columns.
func (h history) text() string {
	var page strings.Builder
	if !h.Pinned {
		line(&page, "UNPINNED", "no root is pinned: the history holds together, but nobody vouches for its beginning")
	}
	for i, e := range h.Entries {
		if i > 0 || !h.Pinned {
			page.WriteByte('\n')
		}
		line(&page, fmt.Sprintf("version %d", e.Version), e.Issued.Format(time.RFC3339)+"  "+e.Action)
		line(&page, "reason", e.Reason)
		for _, change := range e.Changes {
			if change.Kind == rotation.EffectExpire || change.Kind == rotation.EffectStopSign {
				continue // the JSON has it
			}
			line(&page, "", change.String())
		}
		for _, root := range e.Roots {
			line(&page, "signed by", root)
		}
	}
	return page.String()
}
