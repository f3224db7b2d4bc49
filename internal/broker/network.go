package broker

import (
	"context"
	"errors"
	"net"
)

// isNetwork reports whether err came from the network or its deadline.
func isNetwork(err error) bool {
	_, isNet := errors.AsType[net.Error](err)
	_, isOp := errors.AsType[*net.OpError](err)
	return isNet || isOp || errors.Is(err, context.DeadlineExceeded)
}
