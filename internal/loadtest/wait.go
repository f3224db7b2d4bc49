package loadtest

import (
	"context"
	"time"
)

// timerWait blocks until an instant, or until ctx ends.
func timerWait(ctx context.Context, until time.Time) {
	left := time.Until(until)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// kernelWindow is how long before an instant [KernelWait] turns from a timer to
// the kernel, which an interrupt does not reach.
const kernelWindow = 3 * time.Millisecond

// KernelWait blocks until an instant, or until ctx ends. The last milliseconds it
// sleeps in the kernel, where there is a way to: the runtime's timers may be a
// millisecond late in a process that is idle.
func KernelWait(ctx context.Context, until time.Time) {
	timerWait(ctx, until.Add(-kernelWindow))
	if ctx.Err() == nil {
		sleepUntil(until)
	}
}
