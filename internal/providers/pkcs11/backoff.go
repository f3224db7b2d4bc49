package pkcs11

import "time"

// The bounds of the wait between two initialisations of a broken module.
const (
	minBackoff = 200 * time.Millisecond
	maxBackoff = 2 * time.Second
	calm       = 10 * time.Second // after so long without, the next is the first again
)

// backoff spaces what must not be done in a hurry. Its zero value has done
// nothing yet.
type backoff struct {
	last time.Time
	wait time.Duration
}

// due returns when it may be done again.
func (b *backoff) due() time.Time { return b.last.Add(b.wait) }

// ready reports whether that is now or was before.
func (b *backoff) ready(now time.Time) bool { return !now.Before(b.due()) }

// done notes that it was done: the wait doubles, unless it was calm.
func (b *backoff) done(now time.Time) {
	if b.wait == 0 || now.Sub(b.last) > calm {
		b.wait = minBackoff
	} else {
		b.wait = min(2*b.wait, maxBackoff)
	}
	b.last = now
}
