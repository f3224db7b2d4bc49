package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/capsign/cap/capsign"
)

// text lays the standings out for a terminal of 80 columns, as of now.
func (s rotationStatus) text(now time.Time) string {
	var page strings.Builder
	line(&page, "keyring", fmt.Sprintf("version %d, issued %s", s.Version, s.Issued.Format(time.RFC3339)))
	expiry := "expires " + s.Expires.Format(time.RFC3339) + " (" + until(s.Expires.Sub(now)) + ")"
	if s.Expired {
		expiry = "EXPIRED " + s.Expires.Format(time.RFC3339) + ": no key signs or verifies; 'cap keyring renew'"
	}
	line(&page, "", expiry)
	if !s.Pinned {
		line(&page, "UNPINNED", "no root is pinned, so this is only what the broker says: 'cap keyring trust FINGERPRINT' (see 'cap keyring show')")
	}
	for _, key := range s.Keys {
		page.WriteByte('\n')
		key.write(&page, now)
	}
	return page.String()
}

// write writes where a key stands.
func (k keyStanding) write(page *strings.Builder, now time.Time) {
	line(page, "key", k.Key+" of pool "+k.Pool)
	line(page, "stage", k.stage())
	line(page, "active", k.Active)
	for _, kid := range k.Accepted {
		line(page, "accepted", kid)
	}
	for _, kid := range k.Retired {
		if slices.Contains(k.Revoked, kid) {
			line(page, "revoked", kid)
		} else {
			line(page, "retired", kid)
		}
	}
	if k.T1 != nil {
		line(page, "t1", stamp(*k.T1)+" ("+until(k.T1.Sub(now))+")")
		page.WriteByte('\n')
		k.writeBar(page, now)
	}
}

// stage says which stage it is.
func (k keyStanding) stage() string {
	text := stageText(k.Stage)
	if k.back {
		text = "1 (rolled back: the old key signs and verifies)"
	}
	return text
}

// barColumns is how wide the time line is.
const barColumns = 60

// writeBar draws the time from the beginning of the overlap to T1 or, if that is
// later, to now: the old kid ends at T1, the new one goes on.
//
//	               2026-11-23 12:00                       T1 2026-12-23 12:00
//	old 9c1b3a2f   ==============|..........................................x
//	new 3f2a77d0   ==============|..........................................>
//	                             now
func (k keyStanding) writeBar(page *strings.Builder, now time.Time) {
	end := *k.T1
	if now.After(end) {
		end = now
	}
	at := func(t time.Time) int { return column(t.Sub(k.Began), end.Sub(k.Began)) }
	t1, here := at(*k.T1), at(now)
	from, to := minute(k.Began), "T1 "+minute(*k.T1)
	place := max(t1+1-len(to), len(from)+1) // where the text of T1 begins
	fmt.Fprintf(page, "%-15s%s%s%s\n", "", from, strings.Repeat(" ", place-len(from)), to)
	fmt.Fprintf(page, "%-15s%s\n", "old "+k.replaced[:8], bar(here, t1, 'x'))
	fmt.Fprintf(page, "%-15s%s\n", "new "+k.Active[:8], bar(here, barColumns-1, '>'))
	mark := "now"
	if left := k.T1.Sub(now); left > 0 {
		mark = "now, " + strings.TrimPrefix(until(left), "in ") + " left"
	}
	fmt.Fprintf(page, "%-15s%s%s\n", "", strings.Repeat(" ", min(here, barColumns-len(mark))), mark)
}

// bar draws the time of one kid up to the column last, where it ends or goes on.
func bar(now, last int, end byte) string {
	drawn := make([]byte, last+1)
	for i := range drawn {
		switch {
		case i < now:
			drawn[i] = '='
		case i == now:
			drawn[i] = '|'
		default:
			drawn[i] = '.'
		}
	}
	if last != now || end == 'x' {
		drawn[last] = end
	}
	return string(drawn)
}

// column returns where in the bar the instant is that comes so long after its
// beginning, of a whole.
func column(since, whole time.Duration) int {
	if whole <= 0 {
		return barColumns - 1
	}
	return min(max(0, int(float64(since)/float64(whole)*float64(barColumns-1))), barColumns-1)
}

// minute returns an instant as the bar shows it.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// replacedOf returns the kid that the rotation under way replaces, "" where there
// is none.
func replacedOf(r capsign.KeyRotation) string {
	if r.At == 0 {
		return ""
	}
	return r.Versions[r.At-1].KID
}
