//go:build !soak

package tests

// The crash tests send crashRequests requests and kill crashStrikes times
// meanwhile; soak does more of both.
const (
	crashRequests = 1500
	crashStrikes  = 5

	// clusterRequests is how many requests a cluster's bulk lane gets.
	clusterRequests = 2000
)
