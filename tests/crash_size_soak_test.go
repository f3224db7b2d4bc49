//go:build soak

package tests

// The crash tests send crashRequests requests and kill crashStrikes times
// meanwhile.
const (
	crashRequests = 10_000
	crashStrikes  = 60

	// clusterRequests is how many requests a cluster's bulk lane gets.
	clusterRequests = 20_000
)
