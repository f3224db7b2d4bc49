//go:build soak

package tests

// crashRequests is how many requests the crash tests send.
const crashRequests = 10_000
