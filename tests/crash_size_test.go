//go:build !soak

package tests

// crashRequests is how many requests the crash tests send; soak sends more.
const crashRequests = 1500
