package pkcs11

import "context"

// turn is a lock that can be waited for with a deadline.
type turn chan struct{}

// newTurn returns a turn that nobody has.
func newTurn() turn { return make(turn, 1) }

// take waits for the turn, or returns errTimeout when ctx ends first; give must
// follow.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return errTimeout
	}
}

// give ends it.
func (t turn) give() { <-t }
