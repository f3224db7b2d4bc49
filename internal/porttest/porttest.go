// Package porttest finds ports for the servers that a test starts.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// handedOut are the ports that Free has returned.
var handedOut sync.Map

// Free returns a loopback port that nobody listens on, and never the same twice
// in a process. It is below those that Linux gives to connections by default: one
// that dials a server that is down can be given the very port it dials, and
// keeps the server from coming back.
func Free(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.N(22_000)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close() // it has no connections
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// FreeN returns n ports, each as [Free] does.
func FreeN(t testing.TB, n int) []int {
	t.Helper()
	ports := make([]int, n)
	for i := range ports {
		ports[i] = Free(t)
	}
	return ports
}
