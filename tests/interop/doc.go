// Package interop has stock cosign judge what cap makes, with real workers. Its
// tests build cosign once, which takes minutes, and so have a build tag of their
// own: make interop.
package interop
