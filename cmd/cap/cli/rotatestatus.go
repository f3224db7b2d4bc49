package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/capsign/cap/capsign"
)

// rotateStatusCommand returns "cap rotate status".
func (a *app) rotateStatusCommand() *cobra.Command {
	keyring := input{flag: "--keyring"}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show where each key stands",
		Long: "status shows which kid signs, which verify, until when, and how much of that\n" +
			"time is over. With --json, the members beside keys are those of the only key or\n" +
			"of the one that --key names.",
		Example: "  cap rotate status --json",
		Args:    noArgs,
		RunE:    a.bounded(func(ctx context.Context) error { return a.rotateStatus(ctx, keyring) }),
	}
	cmd.Flags().StringVar(&keyring.path, "keyring", "", "look into `FILE`, an exported keyring, and use no network")
	return cmd
}

// standing is where a key stands in its rotation. The lists are nil where it is
// not said of which key.
type standing struct {
	Stage    int      `json:"stage,omitzero"`
	Active   string   `json:"active,omitzero"`
	Accepted []string `json:"accepted,omitzero"`
	Retired  []string `json:"retired,omitzero"`
	Revoked  []string `json:"revoked,omitzero"`
	// T1 is when stage 2 ends or ended; nil where there is no rotation under way.
	T1 *time.Time `json:"t1,omitzero"`
	// SecondsLeft is the time until T1, in stage 2 only.
	SecondsLeft float64 `json:"seconds_left,omitzero"`
}

// keyStanding is a key's standing with its name.
type keyStanding struct {
	Key  string `json:"key"`
	Pool string `json:"pool"`
	standing
	// Began is when the stage before T1 began, as far as it is known.
	Began time.Time `json:"began,omitzero"`

	back     bool   // it was rolled back
	replaced string // the kid that the rotation under way replaces; "" for none
}

// rotationStatus is what "cap rotate status --json" prints.
type rotationStatus struct {
	// Version is the keyring's.
	Version uint64 `json:"version"`
	standing
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Expired says that no key signs or verifies before the keyring is renewed.
	Expired bool `json:"expired"`
	// Pinned says whether a pinned root vouches for all this.
	Pinned bool          `json:"pinned"`
	Keys   []keyStanding `json:"keys"`
}

// rotateStatus shows where the keys stand.
func (a *app) rotateStatus(ctx context.Context, keyring input) error {
	s, err := a.sight(ctx, keyring)
	if err != nil {
		return err
	}
	now := s.Now(time.Now().UTC())
	status, err := a.flags.statusOf(s, now)
	if err != nil {
		return err
	}
	a.advise(s.behind())
	if a.flags.json {
		return a.printJSON(status)
	}
	return a.print([]byte(status.text(now)))
}

// statusOf says where the keys stand at now that --pool and --key leave.
func (f *flags) statusOf(s sighting, now time.Time) (rotationStatus, error) {
	k := s.Signed.Keyring()
	status := rotationStatus{
		Version: k.Version, Issued: k.Issued, Expires: k.Expires, Expired: k.Expired(now), Pinned: s.pinned, Keys: []keyStanding{},
	}
	for _, r := range k.Keys {
		if (f.key == "" || f.key == r.Name) && (f.pool == "" || f.pool == r.Pool) {
			status.Keys = append(status.Keys, keyStanding{r.Name, r.Pool, standingOf(r, now), began(s.history, r), r.Back, replacedOf(r)})
		}
	}
	switch len(status.Keys) {
	case 0:
		return status, capsign.KeyUnknown
	case 1:
		status.standing = status.Keys[0].standing
	}
	return status, nil
}

// standingOf says where a key stands at now.
func standingOf(r capsign.KeyRotation, now time.Time) standing {
	s := standing{
		Stage: r.Stage(now), Active: r.Active(),
		Accepted: listed(r.Accepted(now)), Retired: listed(r.Retired(now)), Revoked: listed(r.Revoked),
	}
	if !r.T1.IsZero() {
		s.T1 = &r.T1
	}
	if s.Stage == 2 {
		s.SecondsLeft = r.T1.Sub(now).Seconds()
	}
	return s
}

// listed returns kids as a list, even if there are none.
func listed(kids []string) []string { return append([]string{}, kids...) }

// began returns when the key came to have the T1 that it has: when the oldest of
// the newest keyrings that say so was issued. Where that is not known, it is
// told from the overlap.
func began(history []*capsign.SignedKeyring, r capsign.KeyRotation) time.Time {
	if r.T1.IsZero() {
		return time.Time{}
	}
	since := r.T1.Add(-time.Duration(r.Overlap))
	for _, s := range slices.Backward(history) {
		was, err := s.Keyring().Rotation(r.Name)
		if err != nil || was.At != r.At || !was.T1.Equal(r.T1) {
			break
		}
		since = s.Keyring().Issued
	}
	return since
}
